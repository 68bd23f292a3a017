import { systemCode } from '@parley/runtime';

/** Signals every process of the group that `pid` leads. @returns false if the group is gone */
export function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return false;
    throw error;
  }
}

import type { Readable } from 'node:stream';
import { createInterface } from 'node:readline';

/** What the keeper needs of the operating system: what a test replaces. */
export interface ProcessKiller {
  /** Sends a signal to the process group of `pid`; a group that is gone is no error. */
  kill(pid: number, signal: NodeJS.Signals): void;
  /** Whether any process of the group is left. */
  isAlive(pid: number): boolean;
  sleep(ms: number): Promise<void>;
}

/** How long orphans get between SIGTERM and SIGKILL. */
const GRACE_MS = 5000;
const POLL_MS = 100;

/**
 * Outlives a supervisor that was killed, and ends what it left behind. `input` carries a line `add PID` or
 * `remove PID` for every process group the supervisor starts or sees ending; its end means that the supervisor is
 * gone. Then every group still listed gets SIGTERM, and SIGKILL five seconds later.
 *
 * A supervisor that ends in order has an empty list by then, and nothing is killed.
 */
export async function keepWatch(input: Readable, killer: ProcessKiller): Promise<void> {
  const pids = new Set<number>();
  for await (const line of createInterface({ input })) {
    const [verb, text] = line.split(' ');
    const pid = Number(text);
    if (!Number.isSafeInteger(pid) || pid <= 1) continue;
    if (verb === 'add') pids.add(pid);
    if (verb === 'remove') pids.delete(pid);
  }
  await endGroups([...pids], killer);
}

async function endGroups(pids: readonly number[], killer: ProcessKiller): Promise<void> {
  for (const pid of pids) killer.kill(pid, 'SIGTERM');
  const left = () => pids.filter((pid) => killer.isAlive(pid));
  for (let waitedMs = 0; waitedMs < GRACE_MS && left().length > 0; waitedMs += POLL_MS) {
    await killer.sleep(POLL_MS);
  }
  for (const pid of left()) killer.kill(pid, 'SIGKILL');
}

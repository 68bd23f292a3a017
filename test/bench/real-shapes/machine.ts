import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

/** Where a measurement was made. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  /** Load averages over 1, 5 and 15 minutes before the measurements. */
  readonly load: readonly number[];
}

/** This machine, now. */
export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    load: loadavg(),
  };
}

/** Unit of processor times in /proc (`USER_HZ`), the same on every Linux that Node runs on. */
const tickMs = 10;

/** Processor time that every program of the machine has used so far, in milliseconds; what a hypervisor took counts. */
export function machineCpuMs(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0];
  const [user, nice, system, , , irq, softirq, steal] = line.trim().split(/\s+/).slice(1).map(Number);
  return tickMs * (user + nice + system + irq + softirq + steal);
}

/** Processor time that one process has used so far, all its threads together, in milliseconds. */
export function processCpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the program's name in parentheses and may hold blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return tickMs * (Number(fields[11]) + Number(fields[12]));
}

/** Most memory this process has had resident, in bytes. */
export function peakBytes(): number {
  // Not process.resourceUsage(): its figure starts with that of the program that started this one.
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  if (!found) throw new Error('/proc/self/status has no VmHWM: these benchmarks need Linux');
  return Number(found[1]) * 1024;
}

import { constrainedMemory, memoryUsage } from 'node:process';
import { totalmem } from 'node:os';

/** Memory of this process, in bytes: what it has, and what it may have. */
export function memory(): { residentBytes: bigint; memoryLimitBytes: bigint } {
  const constrained = constrainedMemory();
  // Without a limit the kernel tells one that no machine has.
  const limit = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return { residentBytes: BigInt(memoryUsage().rss), memoryLimitBytes: BigInt(limit) };
}

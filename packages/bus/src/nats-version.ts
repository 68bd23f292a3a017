/** The oldest nats-server whose JetStream does all that Parley needs (the one in Debian 12). */
export const MIN_NATS_VERSION = '2.9.10';

/** Whether version `a` is older than `b`, by their first three numbers; a text that is no version counts as older. */
export function isOlder(a: string, b: string): boolean {
  const [left, right] = [numbers(a), numbers(b)];
  if (left === undefined || right === undefined) return left === undefined;
  const index = left.findIndex((value, i) => value !== right[i]);
  return index >= 0 && (left[index] ?? 0) < (right[index] ?? 0);
}

function numbers(version: string): number[] | undefined {
  const match = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version);
  return match?.slice(1, 4).map(Number);
}

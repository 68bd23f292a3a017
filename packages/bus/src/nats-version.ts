import { ParleyError } from '@parley/runtime';

/** The oldest nats-server whose JetStream does all that Parley needs (the one in Debian 12). */
export const MIN_NATS_VERSION = '2.9.10';

/**
 * The oldest whose clusters lose nothing. In those of 2.9.10 to 2.10.20, when servers are killed soon after one another, a
 * consumer can take messages for delivered that it never delivered (test/integration/nats-cluster.test.ts).
 */
export const MIN_CLUSTERED_NATS_VERSION = '2.10.29';

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

/** @param purpose - what the newer one is needed for, where not for everything */
export function tooOld(url: string, found: string, needed: string, purpose = ''): ParleyError {
  const what = `${needed} or newer is needed${purpose && ` ${purpose}`}`;
  const message = `nats-server at ${url} is version ${found}; ${what}, upgrade it`;
  return new ParleyError('NATS_TOO_OLD', message, { details: { url, found, needed } });
}

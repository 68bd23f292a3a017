import { ok, warning } from './finding.js';
import type { Finding } from './finding.js';

/** Tokens and certificates bear half a minute; beyond that, logs and traces of two machines no longer fit together. */
const MAX_SKEW_MS = 5000;

/**
 * A clock elsewhere, compared with ours.
 *
 * @param theirs - what it said, in milliseconds since the epoch
 * @param askedMs - our clock when it was asked, and `answeredMs` when the answer was there: it spoke somewhere between
 */
export function clockFinding(who: string, theirs: number, askedMs: number, answeredMs: number): Finding {
  const subject = `clock of ${who}`;
  const skewMs = Math.max(0, askedMs - theirs, theirs - answeredMs);
  if (skewMs <= MAX_SKEW_MS)
    return ok(subject, `within ${Math.ceil(skewMs + answeredMs - askedMs)} ms of this machine's`);
  const way = theirs < askedMs ? 'behind' : 'ahead of';
  const detail = `${(skewMs / 1000).toFixed(1)} s ${way} this machine's`;
  return warning(subject, detail, 'let both machines take their time from the same source (NTP)');
}

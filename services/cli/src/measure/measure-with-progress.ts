import type { Terminal } from '../output/terminal.js';
import type { AskedPeer } from './ask-peer.js';
import { answersOf, measure } from './measurement.js';
import type { Measurement, MeasurementPlan } from './measurement.js';

/** {@link measure} with a progress line in answers. */
export async function measureWithProgress(
  peers: readonly AskedPeer[],
  plan: MeasurementPlan,
  options: { terminal: Terminal; label: string; signal: AbortSignal; deadlineMs: number },
): Promise<Measurement> {
  const { terminal, label, signal, deadlineMs } = options;
  const progress = terminal.progress({ label, total: answersOf(plan, peers.length), unit: 'answers' });
  try {
    const measurement = await measure(peers, plan, {
      signal,
      deadlineMs,
      onAnswer: () => progress.advance(),
    });
    progress.done();
    return measurement;
  } finally {
    progress.abandon();
  }
}

/** What failed in a measurement, or undefined: `llama: 3 × PROMPT_TOO_LONG (left out)`. */
export function failureLine({ peers }: Measurement): string | undefined {
  const failed = peers.flatMap(({ name, failures }) => {
    const reasons = Object.entries(failures).map(([reason, times]) => `${times} × ${reason}`);
    return reasons.length === 0 ? [] : [`${name}: ${reasons.join(', ')}`];
  });
  return failed.length === 0 ? undefined : `Not answered, and left out: ${failed.join('; ')}`;
}

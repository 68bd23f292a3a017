import { availableParallelism } from 'node:os';
import { initLanguageModel } from '@parley/lm';
import type { ModelConfig } from '@parley/lm';

/** What one setting of the engines costs when several peers compute at once. */
export interface ContentionBench {
  readonly threads: number;
  readonly spinning: boolean;
  /** Time on the clock until every peer has done a step: the least of the rounds. */
  readonly roundMs: number;
  /** Processor time of such a round, all peers together. */
  readonly processorMs: number;
}

/** How the measurement runs. */
export interface ContentionOptions {
  /** Peers that compute at the same time; default 3, as in the demo. */
  readonly peers?: number;
  /** Rounds of each setting, taken in turn; default 8. */
  readonly repeats?: number;
}

const settings = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
};
const batch = Array.from({ length: 8 }, (_, row) => ({
  prompt: Array.from({ length: 32 }, (_, i) => (7 * i + row) % 500),
  target: Array.from({ length: 32 }, (_, i) => (11 * i + row) % 500),
  weight: 1,
}));

/**
 * Training steps of several models at once, by threads and spinning: one thread each, and as many as the machine has cores,
 * whose idle ones sleep or spin. All models of all settings are there from the start; a round of one setting follows a round
 * of another, so that what else runs on the machine disturbs all of them alike.
 */
export async function benchContention(
  config: ModelConfig,
  { peers = 3, repeats = 8 }: ContentionOptions = {},
): Promise<ContentionBench[]> {
  const cores = availableParallelism();
  const tried = [
    { threads: 1, spinning: false },
    { threads: cores, spinning: false },
    { threads: cores, spinning: true },
  ];
  const sides = [];
  for (const tuning of tried) {
    const open = () => initLanguageModel({ config, seed: 1, ...tuning });
    const models = await Promise.all(Array.from({ length: peers }, open));
    sides.push({ ...tuning, models, roundMs: Infinity, processorMs: Infinity });
  }
  for (let turn = -1; turn < repeats; turn++) {
    for (const side of sides) {
      const [startMs, usage] = [performance.now(), process.cpuUsage()];
      await Promise.all(side.models.map((model) => model.trainStep(batch, settings)));
      const { user, system } = process.cpuUsage(usage);
      if (turn < 0) continue; // Graphs are compiled in the first one.
      side.roundMs = Math.min(side.roundMs, performance.now() - startMs);
      side.processorMs = Math.min(side.processorMs, (user + system) / 1000);
    }
  }
  await Promise.all(sides.flatMap(({ models }) => models.map((model) => model.close())));
  return sides.map(({ threads, spinning, roundMs, processorMs }) => ({
    threads,
    spinning,
    roundMs,
    processorMs,
  }));
}

/** The settings as a table, beside the first. */
export function renderContentionBench(found: readonly ContentionBench[]): string {
  const [first] = found;
  const lines = found.map(({ threads, spinning, roundMs, processorMs }) => {
    const what = `${threads} thread${threads === 1 ? '' : 's'}, idle ones ${spinning ? 'spin' : 'sleep'}`;
    const ratios = `${(roundMs / first.roundMs).toFixed(2)} ×, processor time ${(processorMs / first.processorMs).toFixed(2)} ×`;
    return `${what.padEnd(28)}  ${Math.round(roundMs)} ms  ${ratios}`;
  });
  return ['Three peers that train at once: one step of each, on the clock', ...lines].join('\n');
}

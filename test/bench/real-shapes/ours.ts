/**
 * Our side of the comparisons: one job in a process of its own, through the public API of @parley/lm.
 *
 *   node ours.js '{"kind": "train", "shape": {...}, "threads": 2, ...}'
 *
 * Serves turns as `serveTurns` says.
 */
import { initLanguageModel, loadLanguageModel } from '@parley/lm';
import type { EngineOptions, LanguageModel, OptimizerSettings } from '@parley/lm';
import { serveTurns, timed } from './serve-turns.js';
import { configOf, tokensOf } from './shapes.js';
import type { ModelShape } from './shapes.js';

/** An adapter on all linear layers, or on those of `targets`. */
export interface LoraJob {
  readonly rank: number;
  readonly alpha: number;
  readonly targets?: readonly string[];
}

/** A job's model: a shape with random weights, or a folder. */
export interface OurModel {
  readonly shape: ModelShape;
  readonly folder?: string;
  readonly threads: number;
  readonly spinning: boolean;
  readonly quantization?: EngineOptions['quantization'];
  readonly lora?: LoraJob;
  /** What the process may take; default: all there is. */
  readonly memoryBytes?: number;
}

/** What this program can be asked to do. */
export type OurJob = OurModel &
  (
    | {
        readonly kind: 'train';
        readonly rows: number;
        readonly tokens: number;
        /** Answers of a few tokens that are generated before each step, outside the time. */
        readonly answers?: number;
      }
    | { readonly kind: 'decode'; readonly promptTokens: number; readonly newTokens: number }
    | { readonly kind: 'score'; readonly work: Readonly<Record<string, ScoreWork>> }
    | { readonly kind: 'swap' }
    | { readonly kind: 'load' }
  );

/** One call of `score`, or a prefill, by the sizes of its sequences. */
export interface ScoreWork {
  readonly sequences: number;
  readonly promptTokens: number;
  /** 0: the prompt is computed for its first new token, as at the start of a generation. */
  readonly targetTokens: number;
  /** Whether all sequences have the same prompt. */
  readonly shared: boolean;
}

type Turns = (line: string) => Promise<{ ms: number; [figure: string]: number }>;

const settings: OptimizerSettings = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
  maxGradNorm: 1,
};

/** Calls of one process so far; each gets sequences of its own, so that nothing computed for one can serve another. */
let calls = 0;

function openModel(job: OurJob): Promise<LanguageModel> {
  const { shape, folder, threads, spinning, quantization, lora, memoryBytes } = job;
  const options: EngineOptions = {
    threads,
    spinning,
    ...(job.kind === 'train' && !lora ? { maxBatchTokens: job.rows * job.tokens } : {}),
    ...(lora ? { trainable: { kind: 'lora', seed: 1, ...lora } } : {}),
    ...(quantization ? { quantization } : {}),
    ...(memoryBytes ? { memoryBytes } : {}),
  };
  if (folder !== undefined) return loadLanguageModel({ folder, ...options });
  return initLanguageModel({ config: configOf(shape), seed: 1, ...options });
}

function trainTurns(model: LanguageModel, job: OurJob & { kind: 'train' }): Turns {
  const { shape, rows, tokens, answers = 0 } = job;
  const batch = Array.from({ length: rows }, (_, row) => ({
    prompt: tokensOf(shape, row, 1),
    target: tokensOf(shape, row, tokens, 1),
    weight: 1,
  }));
  const questions = Array.from({ length: answers }, (_, seed) => ({ prompt: tokensOf(shape, 3, 64), seed }));
  return async () => {
    await model.generate(questions, { maxTokens: 8, temperature: 1, stopTokens: [] });
    return { ms: await timed(() => model.trainStep(batch, settings)) };
  };
}

/** A line is a batch size and a number of new tokens: prompts, first tokens and all the steps after them. */
function decodeTurns(model: LanguageModel, shape: ModelShape, promptTokens: number): Turns {
  return async (line) => {
    const [batch, maxTokens] = line.split(' ').map(Number) as [number, number];
    const first = 1000 * ++calls;
    const items = Array.from({ length: batch }, (_, row) => ({
      prompt: tokensOf(shape, first + row, promptTokens),
      seed: 0,
    }));
    return { ms: await timed(() => model.generate(items, { maxTokens, temperature: 0, stopTokens: [] })) };
  };
}

/** A line is the name of one of the works. */
function scoreTurns(
  model: LanguageModel,
  shape: ModelShape,
  work: Readonly<Record<string, ScoreWork>>,
): Turns {
  return async (line) => {
    const { sequences, promptTokens, targetTokens, shared } = work[line];
    const first = 1000 * ++calls;
    const items = Array.from({ length: sequences }, (_, row) => ({
      prompt: tokensOf(shape, shared ? first : first + row, promptTokens),
      target: tokensOf(shape, first + 500 + row, targetTokens),
      seed: 0,
    }));
    const once = { maxTokens: 1, temperature: 0, stopTokens: [] };
    return {
      ms: await timed(() => (targetTokens === 0 ? model.generate(items, once) : model.score(items))),
    };
  };
}

/**
 * A turn replaces the adapter and waits for the first token that it chose. On the line `busy`, four other sequences are being
 * generated meanwhile.
 */
async function swapTurns(model: LanguageModel, shape: ModelShape): Promise<Turns> {
  const small = [{ prompt: tokensOf(shape, 0, 1), target: tokensOf(shape, 0, 8, 1), weight: 1 }];
  const untrained = (await model.exportState()).weights;
  await model.trainStep(small, { ...settings, learningRate: 0.01 });
  const states = [untrained, (await model.exportState()).weights];
  const prompt = [{ prompt: tokensOf(shape, 7, 16), seed: 0 }];
  const once = { maxTokens: 1, temperature: 0, stopTokens: [] };
  const seen = [NaN, NaN];
  const others = Array.from({ length: 4 }, (_, row) => ({ prompt: tokensOf(shape, 10 + row, 64), seed: 0 }));
  await model.generate(others, once);
  const readingMs = await timed(() => model.generate(others, once));
  return async (line) => {
    const running = line === 'busy' ? model.generate(others, { ...once, maxTokens: 64 }) : undefined;
    // By then their prompts are read, which takes as long as reading them for their own sake.
    if (running) await new Promise((resolve) => setTimeout(resolve, 1.5 * readingMs));
    const version = ++calls % 2;
    let logProb = NaN;
    const ms = await timed(async () => {
      await model.importState({ weights: states[version] });
      const [completion] = await model.generate(prompt, once);
      logProb = completion.logProbs[0]!;
    });
    await running;
    const [expected, other] = [seen[version], seen[1 - version]];
    if (logProb === other || (!Number.isNaN(expected) && Math.abs(logProb - expected) > 1e-3)) {
      throw new Error(
        `The first token after a swap was not chosen by the new adapter: log-probability ${logProb}`,
      );
    }
    seen[version] = logProb;
    return { ms };
  };
}

async function serve(job: OurJob): Promise<void> {
  await using model = await openModel(job);
  switch (job.kind) {
    case 'train':
      return await serveTurns({}, trainTurns(model, job));
    case 'decode':
      return await serveTurns({}, decodeTurns(model, job.shape, job.promptTokens));
    case 'score':
      return await serveTurns({}, scoreTurns(model, job.shape, job.work));
    case 'swap':
      return await serveTurns({}, await swapTurns(model, job.shape));
    case 'load': {
      const prompt = [{ prompt: tokensOf(job.shape, 1, 16), seed: 0 }];
      await model.generate(prompt, { maxTokens: 1, temperature: 0, stopTokens: [] });
      // Since the process started.
      const ms = performance.now();
      return await serveTurns({}, async () => ({ ms }));
    }
  }
}

await serve(JSON.parse(process.argv[2]) as OurJob);

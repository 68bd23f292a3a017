import { join } from 'node:path';
import { seedFrom } from '@parley/pst';
import {
  LISTENING,
  makePopulation,
  PRETRAINING,
  SPECIAL_TOKENS,
  taskTokenizerFiles,
  taskVocabulary,
  UNMARKED_CHAT_TEMPLATE,
  type ListeningPart,
  type Task,
} from '@parley/evaluation';
import { initLanguageModel, saveCheckpoint, type LanguageModel, type ModelConfig } from '@parley/lm';
import { DEMO_PEERS, demoConfig, demoWeights } from './demo-models.js';
import { listeningPhase } from './listening-phase.js';
import { writePopulationRecord } from './population-record.js';
import { solvingPhase } from './solving-phase.js';
import { createWordEncoder } from './train-items.js';

/** What {@link pretrainPopulation} is asked for. */
export interface PretrainOptions {
  /** What the peers are to learn. */
  readonly task: Task;
  /** Folder that gets one Hugging Face folder a peer, and the population's record. */
  readonly folder: string;
  /** Decides weak spots, initial weights and data. Same seed, same bytes on the same kind of machine. */
  readonly seed: bigint;
  /** Steps of the first phase, each peer alone. Default {@link PRETRAINING.steps}. */
  readonly solvingSteps?: number;
  /** Steps of the second phase, among one another. Default {@link LISTENING.steps}. */
  readonly listeningSteps?: number;
  /** What the second phase does without; nothing unless given. */
  readonly listeningWithout?: ListeningPart | undefined;
  readonly onProgress?: (progress: PretrainProgress) => void;
  /** Ends pretraining at the next step; nothing is written. */
  readonly signal?: AbortSignal;
}

/** How far pretraining has come. */
export interface PretrainProgress {
  readonly phase: 'solving' | 'listening';
  /** Optimiser steps taken in this phase, over all peers. */
  readonly done: number;
  readonly total: number;
  /** Smoothed loss by peer, nats per token. */
  readonly losses: Readonly<Record<string, number>>;
}

/** Trains three peers for a task from scratch and writes them as Hugging Face folders; returns the folders. */
export async function pretrainPopulation(options: PretrainOptions): Promise<string[]> {
  const solvingSteps = options.solvingSteps ?? PRETRAINING.steps;
  const listeningSteps = options.listeningSteps ?? LISTENING.steps;
  const { task } = options;
  const vocabulary = taskVocabulary(task);
  const encode = createWordEncoder(vocabulary);
  const population = makePopulation(task, options.seed);
  const { coverages } = population;
  const configs = DEMO_PEERS.map((peer) => demoConfig(task, peer));
  const seeds = DEMO_PEERS.map((peer) => seedFrom(options.seed, 'pretrain', peer));
  const models: LanguageModel[] = [];
  try {
    for (const [i, config] of configs.entries()) {
      models.push(
        await initLanguageModel({
          config,
          seed: 0,
          weights: demoWeights(task, config, seeds[i]),
          maxBatch: 128,
        }),
      );
    }
    const solving = track('solving', solvingSteps * models.length, options);
    await Promise.all(
      models.map((model, i) =>
        solvingPhase(model, task, coverages[i], {
          seed: seeds[i],
          steps: solvingSteps,
          encode,
          onStep: (loss) => solving(DEMO_PEERS[i], loss),
        }),
      ),
    );
    const listening = track('listening', listeningSteps * models.length, options);
    await listeningPhase(models, coverages, {
      task,
      seed: options.seed,
      steps: listeningSteps,
      encode,
      vocabulary,
      without: options.listeningWithout,
      onStep: (peer, loss) => listening(DEMO_PEERS[peer], loss),
    });
    const folders = DEMO_PEERS.map((peer) => join(options.folder, peer));
    for (const [i, model] of models.entries()) await save(options, folders[i], configs[i], model);
    writePopulationRecord(options.folder, task, population);
    return folders;
  } finally {
    await Promise.all(models.map((model) => model.close()));
  }
}

function track(
  phase: PretrainProgress['phase'],
  total: number,
  { onProgress, signal }: Pick<PretrainOptions, 'onProgress' | 'signal'>,
) {
  const losses: Record<string, number> = {};
  let done = 0;
  return (peer: string, loss: number) => {
    signal?.throwIfAborted();
    losses[peer] = peer in losses ? 0.97 * losses[peer] + 0.03 * loss : loss;
    onProgress?.({ phase, done: ++done, total, losses: { ...losses } });
  };
}

async function save(
  { task, listeningWithout }: PretrainOptions,
  folder: string,
  config: ModelConfig,
  model: LanguageModel,
): Promise<void> {
  const merged = await model.exportMerged();
  const { tokenizer, tokenizerConfig } = taskTokenizerFiles(task);
  const end = taskVocabulary(task).indexOf(SPECIAL_TOKENS.end);
  saveCheckpoint(folder, {
    config,
    tensors: new Map([...merged].map(([name, { data }]) => [name, data])),
    files: {
      'tokenizer.json': tokenizer,
      'tokenizer_config.json':
        listeningWithout === 'markers'
          ? { ...tokenizerConfig, chat_template: UNMARKED_CHAT_TEMPLATE }
          : tokenizerConfig,
      'generation_config.json': { eos_token_id: end, max_new_tokens: task.maxResponseTokens },
    },
  });
}

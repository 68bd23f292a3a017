import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  createPromptTemplate,
  createTokenizer,
  loadCheckpoint,
  loadLanguageModel,
  readTokenizerFiles,
  saveCheckpoint,
} from '@parley/lm';
import type { ModelConfig, TrainSequence } from '@parley/lm';
import { createRandom, seedFrom } from '@parley/pst';
import type { Random } from '@parley/pst';

/** The three architectures, by the names of the engine's fixtures. */
export const ARCHITECTURES = ['llama', 'qwen2', 'gemma2'] as const;

/** A model of a few ten thousand parameters in a Hugging Face folder. */
export interface SmallModel {
  name: string;
  folder: string;
}

/** Room for a question and two earlier answers in tokens of about one character. */
const CONTEXT_TOKENS = 192;
const STEPS = 90;
const BATCH = 16;
const OPTIMIZER = {
  learningRate: 6e-3,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
};

/** Earlier answers, then the question: short, and aware of peers, so that everything fits the context. */
const CHAT_TEMPLATE =
  '{{ bos_token }}{% for answer in peer_answers %}{{ answer.speaker }}: {{ answer.text }}; {% endfor %}' +
  '{{ messages[0].content }} ';

/** Folder of a fixture of the engine: the same tokenizers, weights never trained. */
export function fixtureFolder(name: string): string {
  return fileURLToPath(new URL(`../../../packages/lm/fixtures/models/${name}`, import.meta.url));
}

/**
 * Three peers that cannot calculate, but have learned to answer in a line that ends: enough for rounds in which
 * aggregates are accepted and weights change. Training them takes a second or two; same seed, same bytes.
 */
export async function makeSmallModels(folder: string): Promise<SmallModel[]> {
  return Promise.all(
    ARCHITECTURES.map(async (name) => ({ name, folder: await makeSmallModel(name, join(folder, name)) })),
  );
}

/** Questions such as `3 plus 4 =`; ids in order. */
export function smallQuestions(count: number, seed = 1n): { promptId: string; question: string }[] {
  const random = createRandom(seedFrom(seed, 'questions'));
  return Array.from({ length: count }, (_, index) => ({
    promptId: `q${String(index).padStart(5, '0')}`,
    question: problem(random).question,
  }));
}

async function makeSmallModel(name: string, folder: string): Promise<string> {
  writeSmallModel(name, folder);
  await using model = await loadLanguageModel({ folder });
  const { config } = loadCheckpoint(folder);
  const encode = encoderOf(folder, config);
  const random = createRandom(seedFrom(1n, 'small', name));
  for (let step = 0; step < STEPS; step++) {
    const batch = Array.from({ length: BATCH }, () => encode(random));
    await model.trainStep(batch, { ...OPTIMIZER, learningRate: OPTIMIZER.learningRate * (1 - step / STEPS) });
  }
  const merged = await model.exportMerged();
  saveCheckpoint(folder, { config, tensors: new Map([...merged].map(([key, { data }]) => [key, data])) });
  return folder;
}

/** A fixture of the engine, not trained, with a longer context and a template of our own. */
export function writeSmallModel(name: string, folder: string): void {
  const source = fixtureFolder(name);
  const { config, tensors } = loadCheckpoint(source);
  const { tokenizer, tokenizerConfig, generationConfig } = readTokenizerFiles(source);
  const longer = { ...config.source, max_position_embeddings: CONTEXT_TOKENS };
  saveCheckpoint(folder, {
    config: { ...config, source: longer },
    tensors,
    files: {
      'tokenizer.json': tokenizer,
      'tokenizer_config.json': { ...tokenizerConfig, chat_template: CHAT_TEMPLATE },
      'generation_config.json': generationConfig,
    },
  });
}

function encoderOf(folder: string, config: ModelConfig): (random: Random) => TrainSequence {
  const files = readTokenizerFiles(folder);
  const tokenizer = createTokenizer(files, config);
  const template = createPromptTemplate(files.tokenizerConfig);
  const end = tokenizer.eosTokenIds[0];
  return (random) => {
    const { question, answer } = problem(random);
    const answers = Array.from({ length: random.integer(0, 2) }, (_, speaker) => ({
      speaker,
      peer: '',
      text: text(random.integer(0, 8)),
    }));
    const prompt = tokenizer.encode(template.render({ question, answers }));
    return { prompt, target: [...tokenizer.encode(text(answer)), end], weight: 1 };
  };
}

function problem(random: Random): { question: string; answer: number } {
  const [a, b] = [random.integer(0, 4), random.integer(0, 4)];
  return { question: `${a} plus ${b} =`, answer: a + b };
}

function text(answer: number): string {
  return `A: ${answer}`;
}

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadCheckpoint } from '../checkpoint.js';
import { readModelConfig } from '../config.js';
import type { ModelConfig } from '../config.js';
import { parameterShapes } from '../config-parameters.js';
import { fixturesFolder, modelFolder } from '../io-test-support.js';
import { LmError } from '../lm-error.js';
import { initLanguageModel } from '../load-language-model.js';
import type { LanguageModel } from '../language-model.js';
import { loraAdapters } from '../lora.js';
import { loadPeftAdapter } from '../peft-adapter.js';
import { createPromptTemplate } from '../prompt-template.js';
import { decodeSafetensors } from '../safetensors.js';
import { toyConfig, toyTokens } from '../test-models.js';
import { readTokenizerFiles } from '../tokenizer-files.js';
import { createTextStream } from '../tokenizer-stream.js';
import { createTokenizer } from '../tokenizer.js';
import type { FileKind, FuzzBase } from './fuzz-case.js';
import { smallTokenizers } from './small-tokenizers.js';

/** Something that reads a folder, and what it is fuzzed with. */
export interface FuzzTarget {
  readonly name: string;
  /** Valid folders to damage. */
  bases(): Promise<readonly FuzzBase[]>;
  /**
   * Prepares the reader once.
   * @returns what reads a damaged folder: it throws `LmError`, or has read the folder and used what it read.
   */
  open(): Promise<(folder: string) => Promise<void> | void>;
}

/** Every reader of files from outside. A further one is one more entry. */
const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'config',
    bases: async () => folders({ 'config.json': 'json' }, ['llama', 'qwen2-bf16', 'gemma2-fp16']),
    open: async () => useCheckpoint,
  },
  {
    name: 'weights',
    bases: async () =>
      folders({ 'model.safetensors': 'safetensors' }, ['llama', 'qwen2-bf16', 'gemma2-fp16']),
    open: async () => useCheckpoint,
  },
  {
    name: 'shards',
    bases: async () =>
      folders({ 'model.safetensors.index.json': 'json', 'model-00002-of-00004.safetensors': 'safetensors' }, [
        'llama-sharded',
      ]),
    open: async () => useCheckpoint,
  },
  {
    name: 'tokenizer',
    bases: async () => [
      ...folders(
        { 'tokenizer.json': 'json', 'tokenizer_config.json': 'json', 'generation_config.json': 'json' },
        ['llama', 'qwen2', 'gemma2'],
      ),
      ...smallTokenizers(),
    ],
    // Some expressions never end; those that do take a few milliseconds.
    open: async () => (folder) => useTokenizer(folder, 2000),
  },
  {
    name: 'chat-template',
    bases: async () => folders({ 'chat_template.jinja': 'template' }, ['llama', 'qwen2', 'gemma2']),
    open: async () => (folder) => useTokenizer(folder, 10_000),
  },
  { name: 'state', bases: stateBases, open: openState },
  {
    name: 'adapter',
    bases: async () => [
      baseOf('llama', join(fixturesFolder, 'adapters', 'llama'), {
        'adapter_config.json': 'json',
        'adapter_model.safetensors': 'safetensors',
      }),
    ],
    open: async () => {
      const config = readModelConfig(modelFolder('llama'));
      return (folder) => useAdapter(folder, config);
    },
  },
];

/** A reader with every fault that the others must not have, case by case: what finds faults is tried on it. */
const brokenTarget: FuzzTarget = {
  name: 'broken',
  bases: async () => folders({ 'config.json': 'json' }, ['llama']),
  open: async () => {
    const faults = [
      () => undefined,
      () => JSON.parse('}') as undefined,
      () => {
        for (;;);
      },
      () => process.abort(),
      () => {
        throw new LmError('CONFIG_INVALID', 'something is wrong');
      },
      () => {
        throw new LmError('TENSOR_MISSING', 'config.json: "hidden_size" is wrong');
      },
    ];
    return (folder) => {
      const index = readFileSync(join(folder, '..', 'progress')).readUInt32LE(0);
      faults[index]();
    };
  },
};

/** The target of this name. */
export function findTarget(name: string): FuzzTarget {
  const target = [...fuzzTargets, brokenTarget].find((candidate) => candidate.name === name);
  if (!target) throw new Error(`There is no fuzz target "${name}".`);
  return target;
}

function folders(
  targets: Readonly<Record<string, FileKind>>,
  names: readonly Parameters<typeof modelFolder>[0][],
) {
  return names.map((name) => baseOf(name, modelFolder(name), targets));
}

function baseOf(label: string, folder: string, targets: Readonly<Record<string, FileKind>>): FuzzBase {
  const files = readdirSync(folder).map((file) => [file, readFileSync(join(folder, file))] as const);
  return { label, files: Object.fromEntries(files), targets };
}

function useAdapter(folder: string, config: ModelConfig): void {
  const { trainable, weights } = loadPeftAdapter(folder, config);
  using reader = decodeSafetensors(weights, 'what was read');
  const adapters = loraAdapters(config, trainable);
  for (const { nameA, shapeA, nameB, shapeB } of adapters) {
    reader.checkFloats(nameA, shapeA);
    reader.checkFloats(nameB, shapeB);
  }
  if (reader.entries.size !== 2 * adapters.length) throw new Error('tensors were read that no module has');
}

function useCheckpoint(folder: string): void {
  const { config, tensors } = loadCheckpoint(folder);
  for (const [name, shape] of parameterShapes(config)) {
    const expected = shape.reduce((a, b) => a * b, 1);
    if (tensors.get(name)?.length !== expected) throw new Error(`"${name}" was read with the wrong size`);
  }
}

const texts = [
  'What is 3 + 4?',
  '',
  '  <|begin|>the <bos> [CLS] answer\r\n\n\t',
  'naïve 中文 🦜👩‍👩‍👧 Ünïcödé \u0000\uFEFF\ud800',
  'a'.repeat(300),
  ' '.repeat(300),
  `${'0'.repeat(200)}!`,
];
const question = { question: 'What?', answers: [{ speaker: 0, peer: 'ada', text: 'That.' }] };

function useTokenizer(folder: string, timeLimitMs: number): void {
  const files = readTokenizerFiles(folder);
  const tokenizer = createTokenizer(files, readModelConfig(folder), { timeLimitMs });
  for (const text of texts) {
    for (const addSpecialTokens of [false, true]) {
      const ids = tokenizer.encode(text, { addSpecialTokens });
      if (!ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize))
        throw new Error(`ids outside the vocabulary: ${ids.join(', ').slice(0, 200)}`);
      const decoded = tokenizer.decode(ids, { skipSpecialTokens: false });
      if (typeof decoded !== 'string') throw new Error(`decoded to ${typeof decoded}`);
    }
  }
  tokenizer.encodeSpan('the ans', 'wer');
  const stream = createTextStream(tokenizer, ['\nQ:']);
  for (const id of tokenizer.encode(texts[0])) stream.push(id);
  stream.end();
  const prompt = createPromptTemplate(files.tokenizerConfig, { label: folder }).render(question);
  if (typeof prompt !== 'string') throw new Error(`rendered to ${typeof prompt}`);
}

const settings = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
};

async function stateModel(): Promise<LanguageModel> {
  const trainable = { kind: 'lora', rank: 2, alpha: 4, targets: ['q_proj', 'down_proj'], seed: 1 } as const;
  const model = await initLanguageModel({ config: toyConfig('llama'), seed: 1, trainable });
  await model.trainStep([{ prompt: toyTokens(4, 1), target: toyTokens(4, 2), weight: 1 }], settings);
  return model;
}

async function stateBases(): Promise<FuzzBase[]> {
  await using model = await stateModel();
  const { weights, optimizer } = await model.exportState();
  const files = { 'adapter.safetensors': weights, 'optimizer.safetensors': optimizer };
  const labels = ['the weights to restore', 'the optimiser state to restore'];
  return [
    {
      label: 'lora',
      files,
      labels,
      targets: { 'adapter.safetensors': 'safetensors', 'optimizer.safetensors': 'safetensors' },
    },
  ];
}

async function openState(): Promise<(folder: string) => Promise<void>> {
  const model = await stateModel();
  let before = await model.exportState();
  return async (folder) => {
    const read = (file: string): Uint8Array => new Uint8Array(readFileSync(join(folder, file)));
    const given = { weights: read('adapter.safetensors'), optimizer: read('optimizer.safetensors') };
    try {
      await model.importState(given);
    } catch (error) {
      const after = await model.exportState();
      if (!same(after.weights, before.weights) || !same(after.optimizer, before.optimizer))
        throw new Error('a refused import changed the state', { cause: error });
      throw error;
    }
    before = await model.exportState();
    await model.score([{ prompt: [1, 2], target: [3] }]);
  };
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

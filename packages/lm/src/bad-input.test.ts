import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { loadCheckpoint } from './checkpoint.js';
import { parseModelConfig, readModelConfig } from './config.js';
import { createEngine } from './engine.js';
import { modelFolder, rejects, temporaryFolder } from './io-test-support.js';
import { LmError } from './lm-error.js';
import type { LmErrorReason } from './lm-error.js';
import { createPromptTemplate } from './prompt-template.js';
import { decodeSafetensors, encodeSafetensors, readSafetensors } from './safetensors.js';
import type { TensorInput } from './safetensors.js';
import { toyConfig } from './test-models.js';
import { readTokenizerFiles } from './tokenizer-files.js';
import type { TokenizerFiles } from './tokenizer-files.js';
import { createTokenizer } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';

// One test for each way in which the fuzz tests (fuzz/) once got past the readers.

const llama = { folder: modelFolder('llama'), config: readModelConfig(modelFolder('llama')) };

function copyOf(t: TestContext, name: 'llama' | 'llama-sharded'): string {
  const folder = temporaryFolder(t);
  cpSync(modelFolder(name), folder, { recursive: true });
  return folder;
}

test('a configuration of a thousand million layers is refused, not laid out', () => {
  for (const [field, value] of [
    ['num_hidden_layers', 1e9],
    ['num_hidden_layers', 65536],
    ['hidden_size', 1e9],
    ['vocab_size', 2 ** 53],
    ['max_position_embeddings', 1e15],
  ] as const) {
    rejects(
      'CONFIG_INVALID',
      new RegExp(`"${field}" is ${value}; expected a positive integer of at most`),
      () => parseModelConfig({ ...llama.config.source, [field]: value }),
    );
  }
});

test('values of a configuration that look right once they are text are refused', () => {
  const gemma = readModelConfig(modelFolder('gemma2')).source;
  rejects('CONFIG_INVALID', /"layer_types" is/, () =>
    parseModelConfig({ ...gemma, layer_types: [['full_attention'], ['full_attention'], ['full_attention']] }),
  );
  rejects('CONFIG_INVALID', /"sliding_window" is 3\.5; expected a positive integer/, () =>
    parseModelConfig({ ...gemma, sliding_window: 3.5 }),
  );
  for (const architectures of [[{ toString: null }], [['LlamaForCausalLM']], [null]]) {
    rejects('ARCHITECTURE_UNKNOWN', /unknown architecture.*"architectures"/, () =>
      parseModelConfig({ ...gemma, architectures }),
    );
  }
});

test('a head size that does not come out even names the fields it comes from', () => {
  const { head_dim: _, ...source } = llama.config.source;
  rejects(
    'CONFIG_INVALID',
    /"num_attention_heads" is 7; expected a divisor of "hidden_size" \(32\), or "head_dim"/,
    () => parseModelConfig({ ...source, num_attention_heads: 7, num_key_value_heads: 7 }),
  );
});

test('a shape that contradicts config.json names the fields it follows from', (t) => {
  const folder = copyOf(t, 'llama');
  const { hidden_size: _, ...source } = llama.config.source;
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...source, hidden_size: 64 }));
  rejects(
    'TENSOR_SHAPE_MISMATCH',
    /model\.safetensors: tensor ".*" has shape \[307, 32\]; expected \[307, 64\] by config\.json \("hidden_size" is 64\)/,
    () => loadCheckpoint(folder),
  );
});

test('JSON that is nested too deep, not UTF-8, too large or no file is refused by name', (t) => {
  const folder = copyOf(t, 'llama');
  const path = join(folder, 'config.json');
  const text = readFileSync(path, 'utf8');
  writeFileSync(
    path,
    text.replace('"hidden_size": 32', `"hidden_size": ${'['.repeat(1e5)}${']'.repeat(1e5)}`),
  );
  rejects('JSON_INVALID', /config\.json is not a JSON object: it is nested more than 64 levels deep/, () =>
    readModelConfig(folder),
  );
  writeFileSync(path, Buffer.concat([Buffer.from('{"model_type": "'), Buffer.of(0xff), Buffer.from('"}')]));
  rejects('JSON_INVALID', /config\.json is not a JSON object/, () => readModelConfig(folder));
  writeFileSync(path, `{"a": "${'x'.repeat(5 << 20)}"}`);
  rejects('FILE_UNREADABLE', /config\.json cannot be read: it has \d+ bytes, at most \d+/, () =>
    readModelConfig(folder),
  );
  writeFileSync(path, text.replace('"hidden_size": 32', `"hidden_size": "${'x'.repeat(1e6)}"`));
  rejects('CONFIG_INVALID', /^.{1,400}$/s, () => readModelConfig(folder));
  rmSync(path);
  mkdirSync(path);
  rejects('FILE_UNREADABLE', /config\.json cannot be read: it is not a file/, () => readModelConfig(folder));
});

test(
  'weights that are a folder or a pipe are refused without waiting',
  { skip: process.platform === 'win32' },
  (t) => {
    const folder = temporaryFolder(t);
    rejects('FILE_UNREADABLE', /is not a file/, () => readSafetensors(folder));
    const pipe = join(folder, 'model.safetensors');
    execFileSync('mkfifo', [pipe]);
    rejects('FILE_UNREADABLE', /model\.safetensors is not a file/, () => readSafetensors(pipe));
  },
);

test('an index that leads out of its folder, or to it, is refused', (t) => {
  const folder = copyOf(t, 'llama-sharded');
  const path = join(folder, 'model.safetensors.index.json');
  for (const shard of ['..', '.', '', '../x.safetensors', 'a/b.safetensors', null]) {
    writeFileSync(path, JSON.stringify({ weight_map: { 'model.norm.weight': shard } }));
    rejects('JSON_INVALID', /index\.json has no "weight_map".*"model\.norm\.weight" is in/, () =>
      loadCheckpoint(folder),
    );
  }
});

test('a safetensors header is read strictly: no name twice, nothing unknown, nothing endless', () => {
  const entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';
  const refused = (header: string, pattern: RegExp): void => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    const bytes = Buffer.concat([length, Buffer.from(header), Buffer.alloc(4)]);
    rejects('SAFETENSORS_INVALID', pattern, () => decodeSafetensors(bytes, 'x.safetensors'));
  };
  refused(`{"a":${entry},"a":${entry}}`, /names "a" twice/);
  refused(`{"a":${entry},"\\u0061":${entry}}`, /names "a" twice/);
  refused(`{"a":${entry.replace('}', ',"x":1}')}}`, /tensor "a" has the unknown field "x"/);
  refused(`{"a":${entry.replace('[1]', '[1.0]')}}`, /tensor "a" has the shape \[1\.0\]/);
  refused(`{"a":${entry.replace('[1]', '[1e0]')}}`, /tensor "a" has the shape \[1e0\]/);
  refused(
    `{"a":${entry.replace('4]', '9007199254740993]')}}`,
    /tensor "a" has the offsets \[0,9007199254740993\]/,
  );
  refused(
    `{"a":${entry.replace('[1]', `[${'1,'.repeat(99)}1]`)}}`,
    /tensor "a" has the shape \[1,1.*at most 64 sizes/,
  );
  refused(`{"a":${entry.replace('"F32"', '['.repeat(1e5))}}`, /tensor "a" has the unknown type/);
  refused(`{"a":${entry},}`, /header is not JSON/);
  refused(`{"a":${entry}} x`, /header is not JSON/);
  refused(`{"a\u0001":${entry}}`, /header is not JSON/);
  refused(`{"${'a'.repeat(5000)}":${entry}}`, /a string of more than 4096 bytes/);
  refused(`{"__metadata__":{"a":"b","a":"c"},"x":${entry}}`, /names "a" twice/);
});

test('a header of any names and white space is read', () => {
  const names = ['__proto__', 'constructor', '"', 'é\u0001🦜', '', '\\'];
  const tensors = new Map(
    names.map((name): [string, TensorInput] => [name, { shape: [1], data: Float32Array.of(1) }]),
  );
  const { entries, metadata } = decodeSafetensors(
    encodeSafetensors(tensors, { __proto__: 'x', 'a"': '\n' }),
    'x',
  );
  assert.deepEqual([...entries.keys()].sort(), [...names].sort());
  assert.equal(metadata['a"'], '\n');
});

test('a state with NaN, infinity, a negative mean of squares or a malformed step is refused and changes nothing', async () => {
  const source = { kind: 'memory', config: toyConfig('llama'), seed: 1, weights: new Map() } as const;
  const trainable = { kind: 'lora', rank: 1, alpha: 1, targets: ['q_proj'], seed: 1 } as const;
  const engine = await createEngine(source, { trainable }, () => undefined);
  const settings = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1, weightDecay: 0, maxGradNorm: 1 };
  await engine.trainStep([{ prompt: [1, 2], target: [3], weight: 1 }], settings);
  const before = engine.exportState();
  const edited = (bytes: Uint8Array, suffix: string, value: number, step?: string): Uint8Array => {
    const reader = decodeSafetensors(bytes, 'exported');
    const tensors = [...reader.entries].map(([name, { shape }]): [string, TensorInput] => {
      const data = reader.readFloats(name);
      if (name.endsWith(suffix)) data[1] = value;
      return [name, { shape, data }];
    });
    return encodeSafetensors(new Map(tensors), {
      ...reader.metadata,
      ...(step === undefined ? {} : { step }),
    });
  };
  const { weights, optimizer } = before;
  const refuses = async (
    w: Uint8Array,
    o: Uint8Array,
    reason: LmErrorReason,
    pattern: RegExp,
  ): Promise<void> => {
    await assert.rejects(
      engine.importState(w, o),
      (error) => error instanceof LmError && error.reason === reason && pattern.test(error.message),
    );
    assert.deepEqual(engine.exportState(), before);
  };
  for (const value of [NaN, Infinity])
    await refuses(
      edited(weights, 'lora_B.weight', value),
      optimizer,
      'TENSOR_NOT_FINITE',
      /weights to restore: tensor ".*lora_B/,
    );
  await refuses(
    weights,
    edited(optimizer, '.exp_avg', NaN),
    'TENSOR_NOT_FINITE',
    /optimiser state to restore: tensor ".*exp_avg"/,
  );
  await refuses(
    weights,
    edited(optimizer, '.exp_avg_sq', -1),
    'STATE_MISMATCH',
    /".*exp_avg_sq", a mean of squares, is -1/,
  );
  for (const step of ['', '0x10', '-1', '1e3', '9'.repeat(30)])
    await refuses(
      weights,
      edited(optimizer, 'none', 0, step),
      'STATE_MISMATCH',
      /step count, "__metadata__\.step", is/,
    );
  await engine.close();
});

interface TokenizerEdit {
  readonly tokenizer?: Record<string, unknown>;
  readonly model?: Record<string, unknown>;
  readonly tokenizerConfig?: Record<string, unknown>;
  readonly generationConfig?: Record<string, unknown>;
}

function edited({ tokenizer, model, tokenizerConfig, generationConfig }: TokenizerEdit): Tokenizer {
  const files = readTokenizerFiles(llama.folder);
  const changed: TokenizerFiles = {
    ...files,
    tokenizer: {
      ...files.tokenizer,
      ...tokenizer,
      model: { ...(files.tokenizer['model'] as object), ...model },
    },
    tokenizerConfig: { ...files.tokenizerConfig, ...tokenizerConfig },
    generationConfig: { ...files.generationConfig, ...generationConfig },
  };
  return createTokenizer(changed, llama.config, { timeLimitMs: 1000 });
}

test('parts of tokenizer.json that the library would trip over later are named on loading', () => {
  const refused = (edit: TokenizerEdit, pattern: RegExp): void =>
    rejects('TOKENIZER_INVALID', pattern, () => edited(edit));
  const post = (single: unknown): TokenizerEdit => ({
    tokenizer: { post_processor: { type: 'TemplateProcessing', single } },
  });
  const text = { Sequence: { id: 'A', type_id: 0 } };
  refused(post(undefined), /tokenizer\.json: "post_processor\.single" is absent; expected a list/);
  refused(
    post([text, '1.0']),
    /"post_processor\.single\[1\]" is "1\.0"; expected "SpecialToken" or "Sequence"/,
  );
  refused(
    post([text, { SpecialToken: { id: 'nope' } }]),
    /"post_processor\.single\[1\]\.SpecialToken\.id" is "nope"/,
  );
  refused(post([]), /"post_processor\.single" is \[\]; expected the text/);
  refused(
    { tokenizer: { pre_tokenizer: { type: 'FixedLength', length: 0 } } },
    /"pre_tokenizer\.length" is 0/,
  );
  refused(
    { tokenizer: { normalizer: { type: 'Nope' } } },
    /"normalizer\.type" is "Nope"; expected BertNormalizer or/,
  );
  refused({ tokenizer: { normalizer: { type: 'toString' } } }, /"normalizer\.type" is "toString"/);
  refused({ tokenizer: { added_tokens: [null] } }, /"added_tokens\[0\]" is null; expected an object/);
  const nested = { type: 'Sequence', decoders: [{ type: 'Strip', start: -1 }] };
  refused({ tokenizer: { decoder: nested } }, /"decoder\.decoders\[0\]\.start" is -1/);
  const grow = { type: 'Replace', pattern: { Regex: '.' }, content: 'xxxxxxxx' };
  refused(
    { tokenizer: { normalizer: { type: 'Sequence', normalizers: Array(9).fill(grow) } } },
    /lengthen text/,
  );
  refused(
    { tokenizerConfig: { additional_special_tokens: {} } },
    /tokenizer_config\.json: "additional_special_tokens"/,
  );
  refused(
    { tokenizerConfig: { eos_token: { content: 1 } } },
    /tokenizer_config\.json: "eos_token\.content" is 1/,
  );
});

test('ids and merges that contradict the vocabulary are named', () => {
  const vocab = (readTokenizerFiles(llama.folder).tokenizer['model'] as { vocab: object }).vocab;
  const refused = (model: Record<string, unknown>, pattern: RegExp): void =>
    rejects('TOKENIZER_INVALID', pattern, () => edited({ model }));
  for (const id of [4294967294, 2 ** 53, 1e308, -1, 0.5, '1', null])
    refused({ vocab: { ...vocab, extra: id } }, /"model\.vocab\.extra" is .*; expected an id from 0/);
  refused(
    { vocab: { ...vocab, extra: 7 } },
    /"model\.vocab\.extra" is 7; expected an id that no other token has/,
  );
  refused({ merges: [['a', 'nope']] }, /"model\.merges\[0\]" is \["a","nope"\]; .* lacks "nope"/);
  refused({ merges: ['a b c'] }, /"model\.merges\[0\]" is "a b c"; expected two tokens/);
  refused({ merges: [['Ġ', 'a'], 'e s'] }, /"model\.merges\[1\]" is "e s"; expected the same form/);
  rejects('CONFIG_INVALID', /generation_config\.json: "eos_token_id" is -1; expected token ids/, () =>
    edited({ generationConfig: { eos_token_id: -1 } }),
  );
});

test('regular expressions that do not compile, or that search for ever, are named', () => {
  const split = (Regex: string): TokenizerEdit => ({
    tokenizer: { pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false } },
  });
  rejects(
    'TOKENIZER_INVALID',
    /tokenizer\.json: "pre_tokenizer\.pattern\.Regex" is "\(", which is no regular expression/,
    () => edited(split('(')),
  );
  for (const endless of ['(\\p{L}+)*\\d', '(e|ee)+q']) {
    rejects('TOKENIZER_INVALID', /"pre_tokenizer\.pattern\.Regex" is .* takes more than 1000 ms/, () =>
      edited(split(endless)),
    );
  }
});

test('encoding that takes too long is ended, and the tokenizer goes on working', () => {
  // Slow on text like "qzqzqz…" alone, which no probe of single characters finds.
  const Regex = '((qz)+(qz)+)+!|.';
  const tokenizer = edited({
    tokenizer: { pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false } },
  });
  const fine = tokenizer.encode('abc');
  rejects(
    'TOKENIZER_INVALID',
    /tokenizer\.json: encoding 80 characters takes more than \d+ ms; its regular expressions are "pre_tokenizer/,
    () => tokenizer.encode('qz'.repeat(40)),
  );
  assert.deepEqual(tokenizer.encode('abc'), fine);
});

test('a list of chat templates with something else in it is named', () => {
  rejects('TOKENIZER_INVALID', /tokenizer_config\.json: "chat_template\[0\]" is null/, () =>
    edited({ tokenizerConfig: { chat_template: [null] } }),
  );
  const template = createPromptTemplate({ chat_template: [null, { name: 'default', template: 'x' }] });
  assert.equal(template.render({ question: '', answers: [] }), 'x');
});

test('older files without the kind of their model, or parts that may be absent, are read', () => {
  const files = readTokenizerFiles(llama.folder);
  const { normalizer: _, ...tokenizer } = files.tokenizer;
  const { type: __, ...model } = tokenizer['model'] as Record<string, unknown>;
  const old = createTokenizer({ ...files, tokenizer: { ...tokenizer, model } }, llama.config);
  assert.deepEqual(old.encode('the answer'), edited({}).encode('the answer'));
});

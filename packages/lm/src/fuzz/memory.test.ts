import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { modelFolder, temporaryFolder } from '../io-test-support.js';
import { writeSafetensors } from '../safetensors.js';
import type { MemoryReader, MemoryReport } from './memory-process.js';
import { assemble } from './mutate-safetensors.js';

const megabyte = 1 << 20;
/** A file large enough that what Node takes for itself does not matter, and that allowance. */
const fileBytes = 64 * megabyte;
const allowance = 16 * megabyte;

async function measure(reader: MemoryReader, folder: string): Promise<MemoryReport> {
  const child = fork(fileURLToPath(new URL('./memory-process.js', import.meta.url)), [reader, folder], {
    execArgv: ['--expose-gc'],
  });
  const [report] = (await once(child, 'message')) as [MemoryReport];
  return report;
}

function folderWith(t: TestContext, config: Readonly<Record<string, unknown>>): string {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  return folder;
}

const small = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 8192,
  hidden_size: 1024,
  intermediate_size: 1024,
  num_hidden_layers: 1,
  num_attention_heads: 8,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
};

/** Headers that fill almost the whole file and would take many times its size if they were parsed into values first. */
const headers: Readonly<Record<string, (bytes: number) => string>> = {
  'empty lists': (bytes) => `{"a":[${'[],'.repeat(bytes / 3)}`,
  'nested lists': (bytes) => '['.repeat(bytes),
  'nested objects': (bytes) => '{"a":'.repeat(bytes / 5),
  'many sizes': (bytes) => `{"a":{"dtype":"U8","shape":[${'1,'.repeat(bytes / 2)}`,
  'many offsets': (bytes) => `{"a":{"data_offsets":[${'1,'.repeat(bytes / 2)}`,
  'a long name': (bytes) => `{"${'\\u00e9'.repeat(bytes / 6)}":1`,
  'much metadata': (bytes) => `{"__metadata__":{${members(bytes, () => '""')}`,
  'long metadata': (bytes) => `{"__metadata__":{"a":"${'\\u00e9'.repeat(bytes / 6)}`,
  'many empty tensors': (bytes) =>
    `{${members(bytes, () => '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}')}`,
};

function members(bytes: number, value: () => string): string {
  const count = Math.floor(bytes / (12 + value().length));
  return Array.from({ length: count }, (_, i) => `"${i}":${value()}`).join(',');
}

describe('memory', { concurrency: 2, skip: process.platform !== 'linux' }, () => {
  for (const [what, header] of Object.entries(headers)) {
    test(`a safetensors header of ${what} takes less than twice the file`, async (t) => {
      const folder = folderWith(t, small);
      const json = Buffer.from(header(60 * megabyte));
      writeFileSync(
        join(folder, 'model.safetensors'),
        assemble(json, Buffer.alloc(fileBytes - json.length - 8)),
      );
      // Bytes already in memory are the file itself once more; of all headers, that of many tensors leaves most behind.
      const readers =
        what === 'many empty tensors' ? (['checkpoint', 'bytes'] as const) : (['checkpoint'] as const);
      for (const reader of readers) {
        const { bytes, message } = await measure(reader, folder);
        assert.ok(bytes < 2 * fileBytes + allowance, `${reader}: ${bytes / megabyte} MB`);
        assert.match(message, /is not a valid safetensors file/);
      }
    });
  }

  test('a configuration that claims a huge model is refused before anything of its size is allocated', async (t) => {
    const folder = folderWith(t, small);
    copyFileSync(join(modelFolder('llama'), 'model.safetensors'), join(folder, 'model.safetensors'));
    for (const [claim, pattern] of [
      [
        { hidden_size: 1e9 },
        /config\.json: "hidden_size" is 1000000000; expected a positive integer of at most \d+/,
      ],
      [{ num_hidden_layers: 1e9 }, /config\.json: "num_hidden_layers" is 1000000000; expected/],
      [
        { hidden_size: 1 << 20, vocab_size: 1 << 24 },
        /expected \[16777216, 1048576\].*"vocab_size" is 16777216/,
      ],
      [{ num_hidden_layers: 1024 }, /tensor "model\.embed_tokens\.weight"/],
    ] as const) {
      writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...small, ...claim }));
      const { bytes, message } = await measure('checkpoint', folder);
      assert.match(message, pattern);
      assert.ok(bytes < allowance, `${JSON.stringify(claim)}: ${bytes / megabyte} MB`);
    }
  });

  test('a whole file takes its own size as float32, however it is stored', async (t) => {
    const layer = 'model.layers.0.';
    const square = [
      'self_attn.q_proj',
      'self_attn.k_proj',
      'self_attn.v_proj',
      'self_attn.o_proj',
      'mlp.gate_proj',
    ];
    const shapes: [string, number[]][] = [
      ['model.embed_tokens.weight', [8192, 1024]],
      ['model.norm.weight', [1024]],
      [`${layer}input_layernorm.weight`, [1024]],
      [`${layer}post_attention_layernorm.weight`, [1024]],
      ...[...square, 'mlp.up_proj', 'mlp.down_proj'].map((name): [string, number[]] => [
        `${layer}${name}.weight`,
        [1024, 1024],
      ]),
    ];
    const folder = folderWith(t, small);
    const path = join(folder, 'model.safetensors');
    for (const [dtype, factor] of [
      ['F32', 1],
      ['BF16', 2],
    ] as const) {
      const tensor = (shape: number[]) => ({
        shape,
        data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
        dtype,
      });
      writeSafetensors(path, new Map(shapes.map(([name, shape]) => [name, tensor(shape)])));
      const { bytes, message } = await measure('checkpoint', folder);
      assert.equal(message, 'read');
      const size = readFileSync(path).byteLength;
      assert.ok(
        bytes < factor * size + allowance,
        `${dtype}: ${bytes / megabyte} MB for ${size / megabyte} MB`,
      );
    }
  });

  test('damage to tokenizer.json takes less than twice what a valid one of its size takes', async (t) => {
    const folder = folderWith(t, { ...small, vocab_size: 1 << 17 });
    const path = join(folder, 'tokenizer.json');
    const valid = tokenizerText();
    writeFileSync(path, valid);
    const { bytes: allowed, message } = await measure('tokenizer', folder);
    assert.equal(message, 'read');
    const length = valid.length;
    const model = '"model":{"type":"BPE","vocab":{"a":0},"merges":[';
    for (const bomb of [
      `{${model}]},"x":[${'[],'.repeat(length / 3)}[]]}`,
      `{${model}]},"x":[${'{},'.repeat(length / 3)}{}]}`,
      `{${model}${'["a","a"],'.repeat(length / 10)}["a","a"]]}}`,
      `{${model}${'"a a",'.repeat(length / 6)}"a a"]}}`,
      `{${model}]},"added_tokens":[{"id":4294967294,"content":"b"}],"x":"${'x'.repeat(length)}"}`,
      '['.repeat(length),
    ]) {
      writeFileSync(path, bomb);
      const report = await measure('tokenizer', folder);
      assert.ok(
        report.bytes < 2 * allowed,
        `${bomb.slice(0, 100)}: ${report.bytes / megabyte} MB, a valid one ${allowed / megabyte} MB`,
      );
      assert.match(report.message, /tokenizer\.json/);
    }
  });
});

/** A byte-pair encoding of 2¹⁷ tokens over few letters, the size of those in use. */
function tokenizerText(): string {
  const letters = [...'abcdefghijklmnop'];
  const tokens = [...letters];
  const merges: string[][] = [];
  for (let next = 0; tokens.length < 1 << 17; next++) {
    for (const letter of letters) {
      if (tokens.length === 1 << 17) break;
      tokens.push(tokens[next] + letter);
      merges.push([tokens[next], letter]);
    }
  }
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return JSON.stringify({ added_tokens: [], normalizer: null, model: { type: 'BPE', vocab, merges } });
}

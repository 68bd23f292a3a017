import assert from 'node:assert/strict';
import {
  cpSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { parseModelConfig } from './config.js';
import { parameterShapes } from './config-parameters.js';
import { modelFolder, modelNames, rejects, temporaryFolder } from './io-test-support.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';
import type { TensorInput } from './safetensors.js';

const weightsFile = 'model.safetensors';

function copyModel(t: TestContext, name: (typeof modelNames)[number]): string {
  const folder = temporaryFolder(t);
  cpSync(modelFolder(name), folder, { recursive: true });
  return folder;
}

/** Rewrites a folder's weights, as somebody's export script might have got them wrong. */
function editWeights(folder: string, edit: (tensors: Map<string, TensorInput>) => void): void {
  const path = join(folder, weightsFile);
  const tensors = new Map<string, TensorInput>();
  {
    using reader = readSafetensors(path);
    for (const [name, { shape }] of reader.entries)
      tensors.set(name, { shape, data: reader.readFloats(name) });
  }
  edit(tensors);
  writeSafetensors(path, tensors);
}

function editConfig(folder: string, changes: object): void {
  const path = join(folder, 'config.json');
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...changes }));
}

for (const name of modelNames) {
  test(`${name} loads whole, reports its progress and survives being saved`, (t) => {
    const seen: number[] = [];
    let total = 0;
    const model = loadCheckpoint(modelFolder(name), {
      onProgress: ({ loadedBytes, totalBytes }) => {
        seen.push(loadedBytes);
        total = totalBytes;
      },
    });
    assert.deepEqual([...model.tensors.keys()], [...parameterShapes(model.config).keys()]);
    for (const [key, shape] of parameterShapes(model.config)) {
      const values = model.tensors.get(key);
      assert.equal(
        values?.length,
        shape.reduce((a, b) => a * b, 1),
      );
      assert.equal(values.buffer.byteLength, values.byteLength);
    }
    assert.equal(seen.length, model.tensors.size);
    assert.ok(seen.every((bytes, i) => i === 0 || bytes > seen[i - 1]));
    assert.equal(seen.at(-1), total);

    const folder = join(temporaryFolder(t), 'new', 'folder');
    saveCheckpoint(folder, {
      ...model,
      files: { 'generation_config.json': { eos_token_id: 3 }, 'a.txt': 'text' },
    });
    const again = loadCheckpoint(folder);
    assert.deepEqual(again.tensors, model.tensors);
    assert.deepEqual({ ...again.config, source: null }, { ...model.config, source: null });
    assert.equal(again.config.source['dtype'], 'float32');
    assert.equal(again.config.source['torch_dtype'], undefined);
    assert.equal(readFileSync(join(folder, 'a.txt'), 'utf8'), 'text');
  });
}

test('16-bit models saved in their own type keep every bit', (t) => {
  for (const [name, dtype] of [
    ['qwen2-bf16', 'BF16'],
    ['gemma2-fp16', 'F16'],
  ] as const) {
    const model = loadCheckpoint(modelFolder(name));
    const folder = temporaryFolder(t);
    saveCheckpoint(folder, { ...model, dtype });
    assert.deepEqual(loadCheckpoint(folder).tensors, model.tensors);
    const sizes = [folder, modelFolder(name)].map((at) => statSync(join(at, weightsFile)).size);
    assert.ok(Math.abs(sizes[0] - sizes[1]) < 1000);
  }
});

test('extras that carry nothing are ignored and listed', (t) => {
  const folder = copyModel(t, 'llama');
  editWeights(folder, (tensors) => {
    const embedding = tensors.get('model.embed_tokens.weight');
    assert.ok(embedding);
    tensors.set('lm_head.weight', embedding);
    tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', { shape: [5], data: new Float32Array(5) });
  });
  assert.deepEqual(loadCheckpoint(folder).ignored, [
    'lm_head.weight',
    'model.layers.0.self_attn.rotary_emb.inv_freq',
  ]);
});

test('a weight the architecture has no place for is refused, not dropped', (t) => {
  const folder = copyModel(t, 'llama');
  editConfig(folder, { attention_bias: false });
  rejects(
    'TENSOR_UNEXPECTED',
    /LlamaForCausalLM .* does not use: "model\.layers\.0\.self_attn\.k_proj\.bias".* and 9 more.*bias switches/,
    () => loadCheckpoint(folder),
  );
});

test('a missing tensor is named with its shape, and an untied head with the switch that ties it', (t) => {
  const folder = copyModel(t, 'qwen2');
  editWeights(folder, (tensors) => tensors.delete('lm_head.weight'));
  rejects('TENSOR_MISSING', /no tensor "lm_head\.weight" \[311, 36\].*tie_word_embeddings/, () =>
    loadCheckpoint(folder),
  );
  editWeights(folder, (tensors) => tensors.delete('model.layers.1.mlp.up_proj.weight'));
  rejects(
    'TENSOR_MISSING',
    /no tensor "model\.layers\.1\.mlp\.up_proj\.weight" \[52, 36\].*whole folder/,
    () => loadCheckpoint(folder),
  );
});

test('a tensor of the wrong shape or type is named with expected and got', (t) => {
  const folder = copyModel(t, 'qwen2');
  editConfig(folder, { intermediate_size: 53 });
  rejects(
    'TENSOR_SHAPE_MISMATCH',
    /model\.safetensors: tensor "model\.layers\.0\.mlp\.gate_proj\.weight" has shape \[52, 36\]; expected \[53, 36\]/,
    () => loadCheckpoint(folder),
  );
  editConfig(folder, { intermediate_size: 52 });
  editWeights(folder, (tensors) =>
    tensors.set('model.norm.weight', { shape: [36], data: new Uint8Array(36) }),
  );
  rejects(
    'TENSOR_DTYPE_UNSUPPORTED',
    /"model\.norm\.weight" has type U8; expected F32, F16 or BF16.*unquantised/,
    () => loadCheckpoint(folder),
  );
});

test('NaN and infinite weights are refused on loading and on saving', (t) => {
  const folder = copyModel(t, 'qwen2');
  const model = loadCheckpoint(folder);
  editWeights(folder, (tensors) => ((tensors.get('model.norm.weight')?.data as Float32Array)[3] = NaN));
  rejects('TENSOR_NOT_FINITE', /model\.safetensors: tensor "model\.norm\.weight" holds NaN at index 3/, () =>
    loadCheckpoint(folder),
  );
  const before = readFileSync(join(folder, weightsFile));
  const tensors = new Map(model.tensors).set('model.norm.weight', new Float32Array(36).fill(Infinity));
  rejects('TENSOR_NOT_FINITE', /model\.norm\.weight" holds Infinity at index 0/, () =>
    saveCheckpoint(folder, { ...model, tensors }),
  );
  assert.deepEqual(readFileSync(join(folder, weightsFile)), before);
});

test('a truncated weights file is named', (t) => {
  const folder = copyModel(t, 'gemma2');
  truncateSync(join(folder, weightsFile), 50_000);
  rejects('SAFETENSORS_TRUNCATED', /model\.safetensors is truncated.*again/, () => loadCheckpoint(folder));
});

test('shards: a missing one, one without its tensor and an index that is none are named', (t) => {
  const folder = copyModel(t, 'llama-sharded');
  const shard = join(folder, 'model-00002-of-00004.safetensors');
  rmSync(shard);
  rejects('SHARD_MISSING', /lacks model-00002-of-00004\.safetensors \(1 of 4 shards.*Download/, () =>
    loadCheckpoint(folder),
  );
  cpSync(join(folder, 'model-00001-of-00004.safetensors'), shard);
  rejects(
    'TENSOR_MISSING',
    /model-00002-of-00004\.safetensors has no tensor ".*", although the index places it there/,
    () => loadCheckpoint(folder),
  );
  for (const weight_map of [{}, { a: '../elsewhere.safetensors' }, { a: 1 }, 'x']) {
    writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    rejects('JSON_INVALID', /index\.json has no "weight_map"/, () => loadCheckpoint(folder));
  }
});

test('a folder without weights in safetensors says so, and names what it has instead', (t) => {
  const folder = copyModel(t, 'llama');
  rmSync(join(folder, weightsFile));
  rejects('FILE_MISSING', /neither model\.safetensors nor model\.safetensors\.index\.json\. Point to/, () =>
    loadCheckpoint(folder),
  );
  writeFileSync(join(folder, 'pytorch_model.bin'), '');
  rejects('FILE_MISSING', /has pytorch_model\.bin, which is not read: save .*safe_serialization/, () =>
    loadCheckpoint(folder),
  );
  rejects('FILE_MISSING', /nowhere\/config\.json does not exist/, () => loadCheckpoint('/nowhere'));
});

test('saving refuses missing, surplus and misshapen tensors before it writes anything', (t) => {
  const model = loadCheckpoint(modelFolder('qwen2'));
  const folder = join(temporaryFolder(t), 'out');
  const save = (edit: (tensors: Map<string, Float32Array>) => void) => () => {
    const tensors = new Map<string, Float32Array>(model.tensors);
    edit(tensors);
    saveCheckpoint(folder, { ...model, tensors });
  };
  rejects(
    'TENSOR_MISSING',
    /no tensor "model\.norm\.weight"/,
    save((tensors) => tensors.delete('model.norm.weight')),
  );
  rejects(
    'TENSOR_UNEXPECTED',
    /"extra"/,
    save((tensors) => tensors.set('extra', new Float32Array(1))),
  );
  rejects(
    'TENSOR_SHAPE_MISMATCH',
    /"model\.norm\.weight" has 35 values but its shape \[36\] needs 36/,
    save((tensors) => tensors.set('model.norm.weight', new Float32Array(35))),
  );
  assert.throws(() => statSync(join(folder, weightsFile)), { code: 'ENOENT' });
});

test('saving over an older folder leaves nothing but whole files', (t) => {
  const folder = copyModel(t, 'qwen2');
  const model = loadCheckpoint(folder);
  renameSync(join(folder, weightsFile), join(folder, 'old.safetensors'));
  const names = readdirSync(folder).sort();
  saveCheckpoint(folder, model);
  assert.deepEqual(readdirSync(folder).sort(), [...names, weightsFile].sort());
});

test('numbers that transformers holds to be floats are written as floats', (t) => {
  const folder = temporaryFolder(t);
  saveCheckpoint(folder, loadCheckpoint(modelFolder('gemma2')));
  const text = readFileSync(join(folder, 'config.json'), 'utf8');
  assert.match(text, /"attn_logit_softcapping": 3\.0,/);
  assert.match(text, /"rope_theta": 10000\.0\b/);
  assert.match(text, /"hidden_size": 28,/);
  assert.deepEqual(parseModelConfig(JSON.parse(text) as Record<string, unknown>).finalSoftCap, 6);
});

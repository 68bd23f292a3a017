import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { readModelConfig } from './config.js';
import { createEngine } from './engine.js';
import { fixturesFolder, modelFolder, rejects, temporaryFolder } from './io-test-support.js';
import { loadPeftAdapter, savePeftAdapter } from './peft-adapter.js';
import { decodeSafetensors, encodeSafetensors, readSafetensors, writeSafetensors } from './safetensors.js';
import type { TensorInput } from './safetensors.js';

const config = readModelConfig(modelFolder('llama'));
const made = join(fixturesFolder, 'adapters', 'llama');

/** A copy of the adapter that PEFT made, with its settings or its tensors changed. */
function changed(
  t: TestContext,
  settings: object,
  change: (tensors: Map<string, TensorInput>) => void = () => undefined,
): string {
  const folder = temporaryFolder(t);
  cpSync(made, folder, { recursive: true });
  const path = join(folder, 'adapter_config.json');
  const source = JSON.parse(readFileSync(path, 'utf8')) as object;
  writeFileSync(path, JSON.stringify({ ...source, ...settings }));
  using reader = readSafetensors(join(made, 'adapter_model.safetensors'));
  const tensors = new Map<string, TensorInput>(
    [...reader.entries].map(([name, { shape }]) => [name, { shape, data: reader.readFloats(name) }]),
  );
  change(tensors);
  writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  return folder;
}

const someB = 'base_model.model.model.layers.1.mlp.up_proj.lora_B.weight';
const embedding = 'base_model.model.model.embed_tokens.lora_embedding_A';

test('an adapter that PEFT made is read with its rank, scale and modules', () => {
  const { trainable, weights, ignored } = loadPeftAdapter(made, config);
  assert.deepEqual(trainable, {
    kind: 'lora',
    rank: 3,
    alpha: 6,
    targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    seed: 0,
  });
  assert.deepEqual(ignored, []);
  using ours = decodeSafetensors(weights, 'ours');
  using theirs = readSafetensors(join(made, 'adapter_model.safetensors'));
  assert.deepEqual([...ours.entries.keys()].sort(), [...theirs.entries.keys()].sort());
  for (const name of theirs.entries.keys()) assert.deepEqual(ours.readFloats(name), theirs.readFloats(name));
});

test('what PEFT takes as given is taken so; its dropout is reported', (t) => {
  const { trainable, ignored } = loadPeftAdapter(
    changed(t, { use_rslora: true, lora_dropout: 0.05, target_modules: '.*_proj', lora_alpha: 2 }),
    config,
  );
  assert.ok(Math.abs(trainable.alpha / trainable.rank - 2 / Math.sqrt(3)) < 1e-12);
  assert.deepEqual(ignored, ['lora_dropout 0.05']);
  const attentionAlone = changed(t, {}, (tensors) => {
    for (const name of tensors.keys()) if (name.includes('mlp')) tensors.delete(name);
  });
  assert.deepEqual(loadPeftAdapter(attentionAlone, config).trainable.targets, [
    'q_proj',
    'k_proj',
    'v_proj',
    'o_proj',
  ]);
});

test('what this engine cannot express is refused, by file and field', (t) => {
  const refused = (pattern: RegExp, settings: object): void => {
    const folder = changed(t, settings);
    rejects('CONFIG_INVALID', pattern, () => loadPeftAdapter(folder, config));
  };
  refused(/adapter_config\.json: "use_dora" is true; expected it switched off/, { use_dora: true });
  refused(/"bias" is "lora_only"; expected "none"/, { bias: 'lora_only' });
  refused(/"modules_to_save" is \["lm_head"\]/, { modules_to_save: ['lm_head'] });
  refused(/"rank_pattern" is \{"q_proj":4\}/, { rank_pattern: { q_proj: 4 } });
  refused(/"alpha_pattern" is/, { alpha_pattern: { q_proj: 4 } });
  refused(/"lora_bias" is true/, { lora_bias: true });
  refused(/"layer_replication" is/, { layer_replication: [[0, 2]] });
  refused(/"trainable_token_indices" is \[1\]/, { trainable_token_indices: [1] });
  refused(/"some_option_of_next_year" is true/, { some_option_of_next_year: true });
  refused(/"init_lora_weights" is "pissa"; expected .*path_initial_model/, { init_lora_weights: 'pissa' });
  refused(/"peft_type" is "LOHA"; expected "LORA"/, { peft_type: 'LOHA' });
  refused(/"r" is 0; expected a positive integer/, { r: 0 });
  refused(/"lora_alpha" is "8"/, { lora_alpha: '8' });
});

test('tensors that are missing, surplus, of another shape or not finite are named', (t) => {
  const refused = (reason: Parameters<typeof rejects>[0], pattern: RegExp, folder: string): void =>
    rejects(reason, pattern, () => loadPeftAdapter(folder, config));
  refused(
    'TENSOR_MISSING',
    /adapter_model\.safetensors has no "[^"]*layers\.1\.mlp\.up_proj\.lora_B\.weight"/,
    changed(t, {}, (tensors) => tensors.delete(someB)),
  );
  refused(
    'TENSOR_UNEXPECTED',
    /has "[^"]*lora_embedding_A", which is no adapter of a linear layer of LlamaForCausalLM with 3 layers/,
    changed(t, {}, (tensors) => tensors.set(embedding, { shape: [1], data: new Float32Array(1) })),
  );
  refused('TENSOR_SHAPE_MISMATCH', /lora_A/, changed(t, { r: 4 }));
  refused(
    'TENSOR_NOT_FINITE',
    /up_proj\.lora_B/,
    changed(t, {}, (tensors) => ((tensors.get(someB)!.data as Float32Array)[5] = NaN)),
  );
  const folder = changed(t, {});
  rmSync(join(folder, 'adapter_model.safetensors'));
  writeFileSync(join(folder, 'adapter_model.bin'), '');
  refused('FILE_MISSING', /adapter_model\.bin, which is not read/, folder);
});

test('what is saved is what is loaded again, and changes nothing the model says', async (t) => {
  const given = loadPeftAdapter(made, config);
  const engine = await createEngine(
    { kind: 'folder', folder: modelFolder('llama') },
    { trainable: given.trainable, threads: 1 },
    () => undefined,
  );
  const items = [{ prompt: [5, 6, 7], target: [8, 9, 10] }];
  const [untrained] = await engine.score(items, false);
  await engine.importState(given.weights, null);
  const [before] = await engine.score(items, false);
  assert.notEqual(before.logProb, untrained.logProb);
  const folder = join(temporaryFolder(t), 'new', 'adapter');
  const { weights } = engine.exportState();
  savePeftAdapter(folder, { config, trainable: given.trainable, weights, baseModel: 'org/model' });
  const again = loadPeftAdapter(folder, config);
  assert.deepEqual(again.trainable, given.trainable);
  await engine.importState(again.weights, null);
  assert.deepEqual((await engine.score(items, false))[0], before);
  await engine.close();
});

test('only keys that PEFT knows are written, and nothing at all for weights of another setting', (t) => {
  const { trainable, weights } = loadPeftAdapter(made, config);
  const folder = join(temporaryFolder(t), 'adapter');
  const save = (settings: typeof trainable, bytes: Uint8Array): void =>
    savePeftAdapter(folder, { config, trainable: settings, weights: bytes, baseModel: 'x', dtype: 'BF16' });
  rejects('TENSOR_SHAPE_MISMATCH', /lora_A/, () => save({ ...trainable, rank: 4 }, weights));
  rejects('TENSOR_UNEXPECTED', /settings do not name/, () =>
    save({ ...trainable, targets: ['q_proj'] }, weights),
  );
  rejects('TENSOR_MISSING', /has no/, () => save(trainable, encodeSafetensors(new Map())));
  assert.throws(() => readFileSync(join(folder, 'adapter_config.json')), /ENOENT/);
  save(trainable, weights);
  const written = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as object;
  const known = JSON.parse(readFileSync(join(made, 'adapter_config.json'), 'utf8')) as object;
  for (const key of Object.keys(written)) assert.ok(key in known, key);
  using reader = readSafetensors(join(folder, 'adapter_model.safetensors'));
  assert.equal(reader.entries.get(someB)?.dtype, 'BF16');
});

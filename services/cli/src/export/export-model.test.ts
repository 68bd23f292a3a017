import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  committedStateFormat,
  describeTrainable,
  encodeSafetensors,
  loadLanguageModel,
  loadPeftAdapter,
  readModelConfig,
} from '@parley/lm';
import { checkpointDigest } from '@parley/models';
import type { Trainable } from '@parley/lm';
import { runCommandLine } from '../fixtures/test-cli.js';

const fixtures = fileURLToPath(new URL('../../../../packages/lm/fixtures/', import.meta.url));
const model = join(fixtures, 'models', 'llama');
const adapter = loadPeftAdapter(join(fixtures, 'adapters', 'llama'), readModelConfig(model));
const items = [{ prompt: [5, 6, 7], target: [8, 9, 10] }];

/** Log-likelihood under a model folder, with an adapter beside it if given. */
async function scoreOf(
  folder: string,
  learnt?: { trainable: Trainable; weights: Uint8Array },
): Promise<number> {
  await using loaded = await loadLanguageModel({ folder, ...(learnt && { trainable: learnt.trainable }) });
  if (learnt) await loaded.importState({ weights: learnt.weights });
  return (await loaded.score(items))[0].logProb;
}

test('a state folder is exported as an adapter, a model, and neither of a wrong base', async (t) => {
  const cwd = await temporaryFolder(t);
  const head = encodeSafetensors(
    new Map([['weights', { shape: [adapter.weights.byteLength], data: adapter.weights }]]),
    {
      format: committedStateFormat,
      peer: 'ant',
      version: '7',
      base_sha256: await checkpointDigest(model),
      method: describeTrainable(adapter.trainable),
      weights_sha256: createHash('sha256').update(adapter.weights).digest('hex'),
    },
  );
  await writeFile(join(cwd, 'head.safetensors'), head);
  const exported = (...args: string[]) =>
    runCommandLine(['export', '--model', model, '--from', '.', ...args], { cwd });

  const peft = await exported('--out', 'adapter', '--json');
  assert.equal(peft.code, 0, peft.stderr);
  assert.deepEqual(JSON.parse(peft.stdout), {
    out: join(cwd, 'adapter'),
    format: 'peft',
    summary: `Adapter of version 7 of peer ant written to ${join(cwd, 'adapter')}`,
  });
  assert.deepEqual((await readdir(join(cwd, 'adapter'))).sort(), [
    'adapter_config.json',
    'adapter_model.safetensors',
  ]);
  const again = loadPeftAdapter(join(cwd, 'adapter'), readModelConfig(model));
  assert.deepEqual(again, adapter);

  const merged = await exported('--out', 'merged', '--format', 'merged');
  assert.equal(merged.code, 0, merged.stderr);
  assert.ok((await readdir(join(cwd, 'merged'))).includes('tokenizer.json'));
  const difference = (await scoreOf(join(cwd, 'merged'))) - (await scoreOf(model, adapter));
  assert.ok(Math.abs(difference) < 1e-5, `${difference}`);

  const refused = async (code: number, message: RegExp, ...args: string[]) => {
    const result = await runCommandLine(['export', ...args], { cwd });
    assert.match(result.stderr, message);
    assert.equal(result.code, code);
  };
  const other = join(fixtures, 'models', 'qwen2');
  await refused(2, /Peer ant was trained from .*very folder/, '--model', other, '--from', '.', '--out', 'x');
  await refused(2, /adapter is not empty/, '--model', model, '--from', '.', '--out', 'adapter');
  await refused(
    2,
    /versions\/3\.safetensors cannot be read/,
    '--model',
    model,
    '--from',
    '.',
    '--out',
    'x',
    '--at-version',
    '3',
  );
  await refused(2, /neither a peer's state folder/, '--model', model, '--from', model, '--out', 'x');
});

test('a snapshot needs its alpha, and a PEFT folder brings its own', async (t) => {
  const cwd = await temporaryFolder(t);
  await writeFile(join(cwd, 'snapshot.safetensors'), adapter.weights);
  const args = ['export', '--model', model, '--from', 'snapshot.safetensors', '--out', 'adapter'];
  const silent = await runCommandLine(args, { cwd });
  assert.deepEqual([silent.code, silent.stdout], [2, '']);
  assert.match(silent.stderr, /does not say its alpha: give --alpha/);
  const given = await runCommandLine([...args, '--alpha', '6'], { cwd });
  assert.equal(given.code, 0, given.stderr);
  const config = JSON.parse(await readFile(join(cwd, 'adapter', 'adapter_config.json'), 'utf8')) as object;
  assert.ok('lora_alpha' in config && config.lora_alpha === 6);
  const merged = await runCommandLine(
    [
      'export',
      '--model',
      model,
      '--from',
      'adapter',
      '--out',
      'merged',
      '--format',
      'merged',
      '--dtype',
      'BF16',
    ],
    { cwd },
  );
  assert.equal(merged.code, 0, merged.stderr);
  assert.equal(merged.stdout, `${join(cwd, 'merged')}\n`);
});

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-export-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

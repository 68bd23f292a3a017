import { equal, match, ok } from 'node:assert/strict';
import { copyFile, cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startNatsServer } from '@parley/bus/testing';
import type { TestNatsServer } from '@parley/bus/testing';
import { decodeSafetensors, encodeSafetensors } from '@parley/lm';
import type { TensorInput } from '@parley/lm';
import { run } from '../support/launch.js';
import { fixtureFolder } from '../support/small-models.js';

/** What is done to a healthy model folder, and what the peer must say about it. */
interface Damage {
  what: string;
  exitCode: number;
  /** The file or folder, below the model's own, that the message must name. */
  names: string;
  says: RegExp;
  inflict: (folder: string) => Promise<void>;
}

const WEIGHTS = 'model.safetensors';
const CONFIG = 'config.json';

const DAMAGES: Damage[] = [
  {
    what: 'no weights',
    exitCode: 1,
    names: '',
    says: /has neither model\.safetensors nor .*Point to a Hugging Face model folder/,
    inflict: (folder) => rm(join(folder, WEIGHTS)),
  },
  {
    what: 'truncated weights',
    exitCode: 1,
    names: WEIGHTS,
    says: /is truncated: tensor "[\w.]+" .*Download or copy it again/,
    inflict: (folder) => truncate(join(folder, WEIGHTS), 20_000),
  },
  {
    what: 'a tensor of the wrong shape',
    exitCode: 1,
    names: WEIGHTS,
    says: /tensor "model\.norm\.weight" has shape \[4, 8\]; expected \[32\].* take both from the same place/,
    inflict: (folder) => replaceNorm(folder, { shape: [4, 8], data: new Float32Array(32) }),
  },
  {
    what: 'a tensor of the wrong type',
    exitCode: 1,
    names: WEIGHTS,
    says: /tensor "model\.norm\.weight" .*I32.*F32/,
    inflict: (folder) => replaceNorm(folder, { shape: [32], data: new Int32Array(32) }),
  },
  {
    what: 'an unknown architecture',
    exitCode: 2,
    names: CONFIG,
    says: /unknown architecture: MambaForCausalLM\. Supported: .*LlamaForCausalLM.*Choose a model of one of these/,
    inflict: async (folder) => {
      const config = await readFile(join(folder, CONFIG), 'utf8');
      await writeFile(join(folder, CONFIG), config.replace('LlamaForCausalLM', 'MambaForCausalLM'));
    },
  },
  {
    what: 'the tokenizer of another model',
    exitCode: 1,
    names: '',
    says: /tokenizer of .* has 362 tokens, but config\.json gives the model 307 .*Take .* from the same model/,
    inflict: (folder) =>
      copyFile(join(fixtureFolder('gemma2'), 'tokenizer.json'), join(folder, 'tokenizer.json')),
  },
  {
    what: 'a config.json that is not JSON',
    exitCode: 1,
    names: CONFIG,
    says: /is not a JSON object.* Download or save it again/,
    inflict: (folder) => writeFile(join(folder, CONFIG), '{'),
  },
];

describe('a peer that is given a model it cannot use', { concurrency: 2 }, () => {
  let folder = '';
  let nats: TestNatsServer;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'parley-bad-model-'));
    nats = await startNatsServer();
  });
  after(async () => {
    await nats[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  for (const [index, { what, exitCode, names, says, inflict }] of DAMAGES.entries()) {
    test(`${what}: exits with ${exitCode} and one line that names the file and the remedy`, async () => {
      const model = join(folder, `model-${index}`);
      await cp(fixtureFolder('llama'), model, { recursive: true });
      await inflict(model);
      const { code, stderr } = await run('peer', peerEnv(model, join(folder, `state-${index}`), nats.url));
      equal(code, exitCode, stderr);
      equal(stderr.trimEnd().split('\n').length, 1, stderr);
      ok(stderr.startsWith('peer: '), stderr);
      ok(stderr.includes(join(model, names)), stderr);
      match(stderr, says);
    });
  }

  test('the command line says the same, and stops the rest of the mesh again', async () => {
    const model = join(folder, 'model-cli');
    await cp(fixtureFolder('llama'), model, { recursive: true });
    await truncate(join(model, WEIGHTS), 20_000);
    const questions = join(folder, 'questions.txt');
    await writeFile(questions, 'How many?\n');
    const peers = ['--peer', `good=${fixtureFolder('qwen2')}`, '--peer', `bad=${model}`];
    const state = ['--state', join(folder, 'state-cli')];
    const { code, stderr, stdout } = await run('cli', {}, [
      'run',
      '--json',
      '--questions',
      questions,
      ...peers,
      ...state,
    ]);
    equal(code, 3, stderr);
    match(stderr, /parley: bad did not start: it ended with exit code 1\./);
    ok(stderr.includes(`${join(model, WEIGHTS)} is truncated`), stderr);
    const { error } = JSON.parse(stdout) as { error: { reason: string } };
    equal(error.reason, 'SERVICE_UNAVAILABLE');
  });
});

/** Replaces the last norm, 32 values in a row, by another tensor. */
async function replaceNorm(folder: string, norm: TensorInput): Promise<void> {
  const path = join(folder, WEIGHTS);
  using reader = decodeSafetensors(await readFile(path), path);
  const tensors = new Map<string, TensorInput>(
    [...reader.entries].map(([name, { shape }]) => [name, { shape, data: reader.readFloats(name, shape) }]),
  );
  await writeFile(path, encodeSafetensors(tensors.set('model.norm.weight', norm)));
}

function peerEnv(model: string, stateDir: string, natsUrl: string): Record<string, string> {
  return {
    PARLEY_PEER_NAME: 'ant',
    PARLEY_MODEL: model,
    PARLEY_STATE_DIR: stateDir,
    PARLEY_NATS_URL: natsUrl,
  };
}

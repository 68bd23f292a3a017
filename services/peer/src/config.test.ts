import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { MODEL_FIELDS } from '@parley/models';
import { isParleyError, readConfig } from '@parley/runtime';
import { PEER_FIELDS, advertisedAddress } from './config.js';

const REQUIRED = { PARLEY_PEER_NAME: 'ant', PARLEY_MODEL: '/models/ant', PARLEY_STATE_DIR: '/state/ant' };

test('a name, a model and a folder are enough', () => {
  const config = readConfig(REQUIRED, PEER_FIELDS);
  deepEqual(Object.fromEntries(Object.entries(config).filter(([key]) => !(key in MODEL_FIELDS))), {
    name: 'ant',
    model: '/models/ant',
    stateDir: '/state/ant',
    listen: { host: '127.0.0.1', port: 0 },
    advertise: undefined,
    natsUrl: 'nats://127.0.0.1:4222',
    natsCredentials: undefined,
    natsUser: undefined,
    natsPassword: undefined,
    natsToken: undefined,
    natsCa: undefined,
    natsCert: undefined,
    natsKey: undefined,
    natsConnectTimeoutMs: 10_000,
    natsTopology: 'create',
    tlsCa: undefined,
    tlsCert: undefined,
    tlsKey: undefined,
    device: 'cpu',
    threads: 1,
    spinning: false,
    train: { kind: 'full' },
    blobs: 'nats',
    keepVersions: 8,
    quantization: 'none',
    recompute: 'auto',
    maxBatch: 32,
    maxBatchTokens: undefined,
  });
});

test('all problems are reported at once, each with what would do', () => {
  const bad = {
    PARLEY_PEER_NAME: 'an ant',
    PARLEY_MODEL: 'hf://one/two/three',
    PARLEY_LISTEN: 'localhost',
    PARLEY_TRAIN: 'lora:0',
    PARLEY_BLOBS: 's3://bucket',
    PARLEY_DEVICE: 'tpu',
    PARLEY_THREADS: '0',
  };
  throws(
    () => readConfig(bad, PEER_FIELDS),
    (error: unknown) => {
      ok(isParleyError(error, 'CONFIG_INVALID'));
      for (const part of [
        'PARLEY_PEER_NAME: "an ant" must match',
        'PARLEY_MODEL: "one/two/three" is not the name of a model on a hub',
        'PARLEY_STATE_DIR: is required',
        'PARLEY_LISTEN: "localhost" is not host:port',
        'PARLEY_TRAIN: "lora:0" is neither full nor lora:<rank>[:<alpha>]',
        'PARLEY_BLOBS: "s3://bucket" is neither nats nor file:///folder',
        'PARLEY_DEVICE: "tpu" is not one of',
        'PARLEY_THREADS: "0" is not a whole number from 1',
      ]) {
        ok(error.message.includes(part), `${part} in: ${error.message}`);
      }
      return true;
    },
  );
});

test('the training method is read', () => {
  const train = (text: string) => readConfig({ ...REQUIRED, PARLEY_TRAIN: text }, PEER_FIELDS).train;
  deepEqual(train('lora:8'), { kind: 'lora', rank: 8, alpha: 16, seed: 0 });
  deepEqual(train('lora:8:4.5'), { kind: 'lora', rank: 8, alpha: 4.5, seed: 0 });
  deepEqual(train('adapter:/some/folder'), { kind: 'adapter', folder: '/some/folder' });
  deepEqual(train('full'), { kind: 'full' });
});

test('others are told the address that is configured, else the one listened on', () => {
  const listen = { host: '127.0.0.1', port: 0 };
  equal(advertisedAddress({ listen, advertise: undefined }, 7001), '127.0.0.1:7001');
  equal(advertisedAddress({ listen, advertise: 'ant.mesh:80' }, 7001), 'ant.mesh:80');
  equal(
    advertisedAddress({ listen: { host: '0.0.0.0', port: 0 }, advertise: undefined }, 7001),
    `${hostname()}:7001`,
  );
});

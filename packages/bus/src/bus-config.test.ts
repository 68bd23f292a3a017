import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createSilentLog, readConfig } from '@parley/runtime';
import type { Env } from '@parley/runtime';
import { BUS_FIELDS, busOptions } from './bus-config.js';

const COMMON = {
  name: 'parley-peer-ant',
  identity: { role: 'peer', name: 'ant' },
  connectTimeoutMs: 10_000,
  makesTopology: true,
  awaitsAccess: false,
};

function optionsOf(env: Env) {
  const identity = { role: 'peer', name: 'ant' } as const;
  const { log: _log, ...options } = busOptions(readConfig(env, BUS_FIELDS), identity, {
    log: createSilentLog(),
  });
  return options;
}

test('an empty environment is the local server without a login', () => {
  assert.deepEqual(optionsOf({}), { servers: ['nats://127.0.0.1:4222'], ...COMMON });
});

test('each kind of login is read, secrets from files, and TLS', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-bus-config-'));
  const secret = join(folder, 'secret');
  await writeFile(secret, 'hush\n');
  try {
    const user = { PARLEY_NATS_USER: 'ant', PARLEY_NATS_PASSWORD_FILE: secret };
    assert.deepEqual(optionsOf(user).auth, { kind: 'user', user: 'ant', password: 'hush' });
    assert.deepEqual(optionsOf({ PARLEY_NATS_TOKEN_FILE: secret }).auth, { kind: 'token', token: 'hush' });
    const creds = {
      PARLEY_NATS_CREDENTIALS_FILE: secret,
      PARLEY_NATS_URL: 'nats://a:1, nats://b:2',
      PARLEY_NATS_CA_FILE: secret,
      PARLEY_NATS_CERT_FILE: secret,
      PARLEY_NATS_KEY_FILE: secret,
      PARLEY_NATS_CONNECT_TIMEOUT: '5m',
      PARLEY_NATS_TOPOLOGY: 'wait',
    };
    assert.deepEqual(optionsOf(creds), {
      ...COMMON,
      servers: ['nats://a:1', 'nats://b:2'],
      connectTimeoutMs: 300_000,
      makesTopology: false,
      awaitsAccess: true,
      auth: { kind: 'creds', credsFile: secret },
      tls: { caFile: secret, certFile: secret, keyFile: secret },
    });
    assert.throws(() => optionsOf({ ...user, PARLEY_NATS_TOKEN_FILE: secret }), {
      reason: 'CONFIG_INVALID',
      message: /one of .*PARLEY_NATS_USER/,
    });
    assert.throws(() => optionsOf({ PARLEY_NATS_USER: 'ant' }), {
      message: /PARLEY_NATS_PASSWORD_FILE belong together/,
    });
    assert.throws(() => optionsOf({ PARLEY_NATS_CA_FILE: '/nowhere' }), { message: /cannot read \/nowhere/ });
    assert.throws(() => optionsOf({ PARLEY_NATS_CERT_FILE: secret }), {
      message: /PARLEY_NATS_KEY_FILE belong together/,
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

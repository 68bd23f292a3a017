import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { field, readConfig } from './index.js';
import type { Field } from './index.js';

const fields = {
  name: field.string('T_NAME', { description: 'a name', pattern: /[a-z]+/ }),
  port: field.integer('T_PORT', { description: 'a port', fallback: 7000, min: 0, max: 65535 }),
  rate: field.decimal('T_RATE', { description: 'a rate', fallback: 0.5, min: 0, max: 1 }),
  waitMs: field.durationMs('T_WAIT', { description: 'a wait', fallback: 250, max: 60_000 }),
  verbose: field.boolean('T_VERBOSE', { description: 'talk', fallback: false }),
  mode: field.oneOf('T_MODE', ['fast', 'safe'], { description: 'a mode', fallback: 'safe' }),
  folder: field.optional(field.path('T_FOLDER', { description: 'a folder' })),
  peers: field.list(field.hostPort('T_PEERS', { description: 'addresses' }), { fallback: [] }),
  password: field.optional(field.secret('T_PASSWORD', { description: 'a password' })),
};

test('defaults hold where a variable is unset or empty, and the result is frozen', () => {
  const config = readConfig({ T_NAME: 'ant', T_PORT: '' }, fields);
  assert.deepEqual(config, {
    name: 'ant',
    port: 7000,
    rate: 0.5,
    waitMs: 250,
    verbose: false,
    mode: 'safe',
    folder: undefined,
    peers: [],
    password: undefined,
  });
  assert.ok(Object.isFrozen(config));
});

test('every problem is reported at once, by name', () => {
  const env = {
    T_PORT: '70000',
    T_RATE: 'NaN',
    T_WAIT: '250',
    T_VERBOSE: 'yes',
    T_MODE: 'slow',
    T_PEERS: 'a:1,,b:99999',
    T_PASSWORD: 'plain',
  };
  assert.throws(() => readConfig(env, fields), {
    code: 'INVALID_ARGUMENT',
    reason: 'CONFIG_INVALID',
    message: [
      '8 invalid settings:',
      '  T_NAME: is required; set T_NAME (a name)',
      '  T_PORT: "70000" is not a whole number from 0 to 65535',
      '  T_RATE: "NaN" is not a number from 0 to 1',
      '  T_WAIT: "250" is not a duration with a unit (250ms, 5s, 2m, 1h) of at most 1m',
      '  T_VERBOSE: "yes" is neither true nor false',
      '  T_MODE: "slow" is not one of fast, safe',
      '  T_PEERS: item 2 is empty',
      '  T_PASSWORD: secrets come from files; set T_PASSWORD_FILE to a path instead',
    ].join('\n'),
  });
});

test('values are parsed with their units', () => {
  const env = { T_NAME: 'ant', T_WAIT: '1.5s', T_PEERS: 'ant:1, [::1]:2', T_RATE: '1e-3', T_VERBOSE: '1' };
  const config = readConfig(env, fields);
  assert.equal(config.waitMs, 1500);
  assert.deepEqual(config.peers, ['ant:1', '[::1]:2']);
  assert.equal(config.rate, 0.001);
  assert.equal(config.verbose, true);
});

test('a secret is the content of its file, and a missing file is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-config-'));
  try {
    const path = join(folder, 'password');
    await writeFile(path, 's3cret\n');
    assert.equal(readConfig({ T_NAME: 'ant', T_PASSWORD_FILE: path }, fields).password, 's3cret');
    const gone = join(folder, 'gone');
    assert.throws(() => readConfig({ T_NAME: 'ant', T_PASSWORD_FILE: gone }, fields), {
      message: new RegExp(`T_PASSWORD: cannot read the file ${gone}`),
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('an address to listen on may leave the port to the system, one to call may not', () => {
  const at = (text: string) =>
    readConfig({ T_LISTEN: text }, { listen: field.listen('T_LISTEN', { description: 'where' }) }).listen;
  assert.deepEqual(at('127.0.0.1:0'), { host: '127.0.0.1', port: 0 });
  assert.deepEqual(at('[::1]:65535'), { host: '[::1]', port: 65535 });
  for (const text of ['localhost', ':80', 'a:65536', '::1:80', 'http://a:80'])
    assert.throws(() => at(text), {
      message: new RegExp(`"${text}" is not host:port with a port from 0 to 65535`),
    });
  assert.throws(() => readConfig({ T_NAME: 'ant', T_PEERS: 'a:0' }, fields), {
    message: /a port from 1 to 65535/,
  });
});

test('every field says what it may hold, and writes its default as it would be set', () => {
  const written = (text: Field<unknown>) => [
    text.values,
    text.fallback === undefined ? undefined : text.format(text.fallback),
  ];
  assert.deepEqual(Object.values<Field<unknown>>(fields).map(written), [
    ['text', undefined],
    ['whole number from 0 to 65535', '7000'],
    ['number from 0 to 1', '0.5'],
    ['duration of at most 1m', '250ms'],
    ['true, false', 'false'],
    ['fast, safe', 'safe'],
    ['path', undefined],
    ['host:port, comma between', ''],
    ['path of a file that holds it', undefined],
  ]);
  const wait = field.durationMs('T', { description: '', min: 0 });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e9 }), (valueMs) => wait.parse(wait.format(valueMs)) === valueMs),
  );
  assert.deepEqual(
    [1000, 90_000, 7_200_000, 0].map((valueMs) => wait.format(valueMs)),
    ['1s', '90s', '2h', '0ms'],
  );
});

test('an integer field takes exactly the whole numbers in its range', () => {
  const port = { port: field.integer('T_PORT', { description: 'a port', min: -5, max: 5 }) };
  fc.assert(
    fc.property(fc.oneof(fc.integer({ min: -9, max: 9 }), fc.double(), fc.string()), (value) => {
      const text = String(value);
      const ok = typeof value === 'number' && Number.isInteger(value) && value >= -5 && value <= 5;
      if (!ok && /^[+-]?\d+$/.test(text) && Math.abs(Number(text)) <= 5) return;
      const read = () => readConfig({ T_PORT: text }, port).port;
      if (ok) assert.equal(read(), Number(text));
      else assert.throws(read, { reason: 'CONFIG_INVALID' });
    }),
  );
});

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect as connectTo, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { sleep } from '@parley/runtime';
import { connectBus } from './connect.js';
import { isOlder } from './nats-version.js';
import { setup, until } from './test-support.js';
import { startNatsServer } from './testing.js';

const quick = { name: 'test', connectTimeoutMs: 400 };

test('nothing listening is NATS_UNREACHABLE within the time given, with address and remedy', async () => {
  const started = Date.now();
  await assert.rejects(connectBus({ ...quick, servers: 'nats://127.0.0.1:1' }), {
    reason: 'NATS_UNREACHABLE',
    message: /No nats-server answers at nats:\/\/127\.0\.0\.1:1 within 400 ms: .*; start one there/,
  });
  assert.ok(Date.now() - started < 2000);
});

test('a server that starts late is waited for', async () => {
  const early = await startNatsServer();
  const { port } = early;
  await early[Symbol.asyncDispose]();
  const connecting = connectBus({
    name: 'test',
    servers: `nats://127.0.0.1:${port}`,
    connectTimeoutMs: 8000,
  });
  await using _server = await startNatsServer({ port });
  const bus = await connecting;
  await bus.close();
});

test('a connection that is taken and never answered is given up for another', async () => {
  await using server = await startNatsServer();
  const taken: Socket[] = [];
  const door = createServer((socket) => {
    taken.push(socket);
    if (taken.length > 1) socket.pipe(connectTo(server.port, '127.0.0.1')).pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(door, 'listening');
  try {
    const { port } = door.address() as AddressInfo;
    const bus = await connectBus({
      name: 'test',
      servers: `nats://127.0.0.1:${port}`,
      connectTimeoutMs: 60_000,
    });
    assert.equal(taken.length, 2);
    await bus.close();
  } finally {
    for (const socket of taken) socket.destroy();
    door.close();
  }
});

test('a server without JetStream is refused with the remedy', async () => {
  await using server = await startNatsServer({ jetstream: false });
  await assert.rejects(connectBus({ ...quick, servers: server.url }), {
    reason: 'NATS_NO_JETSTREAM',
    message: /runs without JetStream; start it with -js and a store folder/,
  });
});

test('a server that is too old is refused with the version found and the one needed', async () => {
  const old = createServer((socket) => {
    const info = {
      server_id: 'X',
      version: '2.8.4',
      go: 'go1',
      host: '127.0.0.1',
      port: 1,
      headers: true,
      max_payload: 1e6,
      proto: 1,
    };
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on('data', (data: Buffer) => data.includes('PING') && socket.write('PONG\r\n'));
  });
  await once(old.listen(0, '127.0.0.1'), 'listening');
  const url = `nats://127.0.0.1:${(old.address() as AddressInfo).port}`;
  try {
    await assert.rejects(connectBus({ ...quick, servers: url }), {
      reason: 'NATS_TOO_OLD',
      message: `nats-server at ${url} is version 2.8.4; 2.9.10 or newer is needed, upgrade it`,
    });
  } finally {
    old.close();
  }
});

test('versions are compared by number', () => {
  const older: [string, string][] = [
    ['2.9.9', '2.9.10'],
    ['1.99.99', '2.0.0'],
    ['2.9.10', '2.10.0'],
    ['dev', '2.9.10'],
  ];
  for (const [a, b] of older) assert.ok(isOlder(a, b), `${a} < ${b}`);
  const notOlder: [string, string][] = [
    ['2.9.10', '2.9.10'],
    ['2.11.0-RC.3', '2.9.10'],
    ['v2.10.1', '2.9.10'],
    ['3.0.0', '2.9.10'],
  ];
  for (const [a, b] of notOlder) assert.ok(!isOlder(a, b), `${a} >= ${b}`);
});

test('a refused login says so at once, and a right one works', async () => {
  const login = { user: 'ant', password: 'hill' };
  await using server = await startNatsServer({ login });
  const wrong = { kind: 'user', user: 'ant', password: 'wrong' } as const;
  await assert.rejects(connectBus({ name: 'test', servers: server.url, auth: wrong }), {
    reason: 'NATS_DENIED',
    message: /refused the login: .*check user, password/,
  });
  const bus = await connectBus({ name: 'test', servers: server.url, auth: { kind: 'user', ...login } });
  await bus.close();
  const gone = join(await mkdtemp(join(tmpdir(), 'parley-creds-')), 'nats.creds');
  await assert.rejects(
    connectBus({ ...quick, servers: server.url, auth: { kind: 'creds', credsFile: gone } }),
    {
      reason: 'CONFIG_INVALID',
      message: new RegExp(gone),
    },
  );
  await rm(join(gone, '..'), { recursive: true });
});

test('after a crash of the server the connection comes back by itself, and its listeners are told', async () => {
  await using s = await setup();
  let told = 0;
  s.bus.onInterruption(() => told++);
  await s.server.restart();
  await until('the reconnect', async () =>
    s.bus.jsm.getAccountInfo().then(
      () => true,
      () => false,
    ),
  );
  assert.equal(told, 2);
});

test('closing is idempotent, and bounded while the server is gone', async () => {
  await using s = await setup();
  await s.server.kill();
  const started = Date.now();
  await Promise.all([s.bus.close(200), s.bus.close(200)]);
  assert.ok(Date.now() - started < 1500);
});

test('a login that is about to be allowed is tried again until it is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-users-'));
  const users = join(folder, 'users.conf');
  const allow = (name: string) =>
    writeFile(users, `authorization { users: [ { user: ${name}, password: hill } ] }`);
  await allow('ant');
  await using server = await startNatsServer({ config: `include "../${basename(folder)}/users.conf"` });
  const connecting = connectBus({
    name: 'test',
    servers: server.url,
    auth: { kind: 'user', user: 'bee', password: 'hill' },
    awaitsAccess: true,
    connectTimeoutMs: 20_000,
  });
  await sleep(300);
  await allow('bee');
  await server.restart();
  const bus = await connecting;
  await bus.close();
  await rm(folder, { recursive: true });
});

import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { connectBus } from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import { runCommandLine } from '../fixtures/test-cli.js';
import { Interruption } from '../run-cli.js';

const users = (...names: string[]) =>
  `authorization { users: [ ${names.map((name) => `{ user: ${name}, password: secret }`).join(', ')} ] }`;

test('nats-reload lets a client in, without a restart, once the file that names it has changed', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-reload-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'users.conf');
  const pid = join(folder, 'nats.pid');
  // At once, as Kubernetes replaces files: a half-written one would name nobody.
  const allow = async (...names: string[]) => {
    await writeFile(`${file}.new`, users(...names));
    await rename(`${file}.new`, file);
  };
  await allow('ant');
  await using nats = await startNatsServer({
    config: `pid_file: "${pid}"\ninclude "../${basename(folder)}/users.conf"`,
  });
  const connect = (user: string) =>
    connectBus({
      servers: nats.url,
      name: user,
      auth: { kind: 'user', user, password: 'secret' },
      connectTimeoutMs: 500,
    });
  const stop = new AbortController();
  const args = ['nats-reload', '--pid', pid, '--watch', file, '--interval', '0.05'];
  // Before the first reload: nats-server 2.9 leaves alone who connects meanwhile.
  await using ant = await connect('ant');
  await assert.rejects(connect('bee'), { reason: 'NATS_DENIED' });
  const reloader = runCommandLine(args, { cwd: folder, signal: stop.signal });
  const connectSoon = async (user: string) => {
    for (const deadline = Date.now() + 10_000; ;) {
      try {
        return await connect(user);
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
    }
  };
  await allow('ant', 'bee');
  await using _bee = await connectSoon('bee');
  await allow('ant', 'bee', 'cat');
  await using _cat = await connectSoon('cat');
  // The one that was in already was not thrown out.
  await ant.connection.flush();
  stop.abort(new Interruption('SIGTERM'));
  const { code, stderr } = await reloader;
  assert.equal(code, 0);
  assert.match(stderr, /nats-server reads .*users\.conf again/);
});

test('nats-reload refuses a file without a process id', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-reload-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'pid'), 'nats');
  const args = ['nats-reload', '--pid', 'pid', '--watch', 'pid'];
  const { code, stderr } = await runCommandLine(args, { cwd: folder });
  assert.equal(code, 2);
  assert.match(stderr, /pid holds no process id; is it nats-server's pid_file\?/);
});

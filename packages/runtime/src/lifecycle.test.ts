import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const FIXTURE = fileURLToPath(new URL('./fixtures/signal-service.js', import.meta.url));

interface Outcome {
  code: number | null;
  messages: string[];
  stderr: string;
}

/** Runs the fixture and sends it SIGTERM each time a log message is one of `signalOn`. */
async function runFixture(env: Record<string, string>, signalOn: string[] = []): Promise<Outcome> {
  const child = spawn(process.execPath, [FIXTURE], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const messages: string[] = [];
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  createInterface(child.stdout).on('line', (line) => {
    const { msg } = JSON.parse(line) as { msg: string };
    messages.push(msg);
    if (signalOn.includes(msg)) child.kill('SIGTERM');
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, messages, stderr };
}

test('SIGTERM turns health off, drains, closes, and exits 0', async () => {
  const { code, messages, stderr } = await runFixture({}, ['fixture serving']);
  assert.equal(code, 0);
  assert.equal(stderr, '');
  assert.deepEqual(messages, [
    'fixture starting',
    'fixture serving',
    'stopping; a second signal exits at once',
    'fixture draining',
    'not serving',
    'drained',
    'released',
    'fixture closed',
  ]);
});

test('a second signal exits at once', async () => {
  const { code, messages } = await runFixture({ FAULT: 'slow-drain' }, ['fixture serving', 'not serving']);
  assert.equal(code, 143);
  assert.equal(messages.includes('drained'), false);
});

test('work that outlasts the drain deadline is cut off', async () => {
  const started = performance.now();
  const { code, messages } = await runFixture({ FAULT: 'slow-drain', PARLEY_DRAIN_DEADLINE: '100ms' }, [
    'fixture serving',
  ]);
  assert.equal(code, 0);
  assert.deepEqual(messages.slice(-3), ['drained after 100 ms', 'released', 'fixture closed']);
  assert.ok(performance.now() - started < 10_000);
});

test('a failure at start is one line on standard error and an exit code that says which kind', async () => {
  const { code, stderr } = await runFixture({ FAULT: 'start' });
  assert.equal(code, 3);
  assert.equal(stderr, 'fixture: no nats-server at nowhere:4222\n');
});

test('a failure in the background drains and closes, and is the exit code', async () => {
  const { code, stderr, messages } = await runFixture({ FAULT: 'background' });
  assert.equal(code, 1);
  assert.equal(stderr, 'fixture: bad ledger\n');
  assert.ok(messages.includes('released'));
});

test('a bad environment exits 2 and names every variable at once', async () => {
  const { code, stderr } = await runFixture({ FIXTURE_PORT: 'x', PARLEY_LOG_LEVEL: 'loud' });
  assert.equal(code, 2);
  assert.match(stderr, /FIXTURE_PORT: "x" is not a whole number/);
  assert.match(stderr, /PARLEY_LOG_LEVEL: "loud" is not one of debug, info/);
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isParleyError, sleep } from '@parley/runtime';
import { askPid, echoService } from '../fixtures/echo-service.js';
import { freePorts } from '../mesh/free-ports.js';
import { parentGone } from './parent-gone.js';
import { createSupervisor } from './supervisor.js';
import type { ServiceStatus } from './supervised-service.js';

const FAST = { pollMs: 20, restartBaseMs: 50, restartMaxMs: 100, graceMs: 500, readyDeadlineMs: 10_000 };
const never = new AbortController().signal;

test('a crashed service is started again on the same address', async (t) => {
  const { folder, ports } = await setup(t, 1);
  const seen: string[] = [];
  const onStatus = ({ condition, note }: ServiceStatus) => seen.push(`${condition} ${note}`.trim());
  await using supervisor = createSupervisor({ timings: FAST, onStatus });
  await supervisor.start([echoService({ name: 'echo', port: ports[0], folder })], never);
  const before = await askPid(ports[0]);
  supervisor.service('echo').crash();
  const after = await until(async () => {
    const status = supervisor.statuses()[0];
    return status.condition === 'ready' && status.pid !== before ? status : undefined;
  });
  assert.equal(await askPid(ports[0]), after.pid);
  assert.equal(after.restarts, 1);
  assert.ok(
    seen.some((line) => /^restarting it ended with signal SIGKILL; starting again in 0\.\d s$/.test(line)),
    seen.join('\n'),
  );
});

test('a service that does not start is named, with its last log lines and the log file', async (t) => {
  const { folder, ports } = await setup(t, 1);
  await using supervisor = createSupervisor({ timings: FAST });
  const spec = echoService({ name: 'peer llama', port: ports[0], folder, env: { EXIT_AT_START: '2' } });
  await assert.rejects(supervisor.start([spec], never), (error) => {
    assert.ok(isParleyError(error, 'SERVICE_UNAVAILABLE'));
    assert.match(error.message, /^peer llama did not start: it ended with exit code 2\./);
    assert.match(error.message, /error cannot start: the checkpoint is missing/);
    assert.match(error.message, new RegExp(`All of its log: ${spec.logFile}`));
    return true;
  });
});

test('a service that never answers fails at the deadline, and a program that is missing at once', async (t) => {
  const { folder, ports } = await setup(t, 1);
  await using supervisor = createSupervisor({ timings: { ...FAST, readyDeadlineMs: 1000 } });
  const deaf = { ...echoService({ name: 'deaf', port: ports[0], folder }), isReady: async () => false };
  await assert.rejects(supervisor.start([deaf], never), /deaf did not start: it did not answer within 1 s/);
  const missing = { ...deaf, name: 'missing', command: join(folder, 'no-such-program') };
  await assert.rejects(supervisor.start([missing], never), /missing did not start: it ended with .*ENOENT/);
});

test('services stop in order of rank, and one that ignores SIGTERM is killed', async (t) => {
  const { folder, ports } = await setup(t, 2);
  const stopped: string[] = [];
  const onStatus = ({ name, condition }: ServiceStatus) => condition === 'stopped' && stopped.push(name);
  const supervisor = createSupervisor({ timings: FAST, onStatus });
  const first = echoService({ name: 'nats', port: ports[0], folder });
  const last = echoService({
    name: 'coordinator',
    port: ports[1],
    folder,
    stopRank: 3,
    env: { IGNORE_SIGTERM: '1' },
  });
  await supervisor.start([first, last], never);
  const pids = supervisor.statuses().map(({ pid }) => pid!);
  await Promise.all([supervisor.stop(), supervisor.stop()]);
  assert.deepEqual(stopped, ['coordinator', 'nats']);
  for (const pid of pids) assert.equal(isAlive(pid), false);
});

test('a supervisor that is killed leaves no process behind', async (t) => {
  const { folder, ports } = await setup(t, 2);
  const path = fileURLToPath(new URL('../fixtures/supervise.js', import.meta.url));
  const child = spawn(process.execPath, [path, folder, ...ports.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const pids = JSON.parse(await firstLine(child.stdout)) as number[];
  assert.equal(pids.length, 2);
  for (const pid of pids) assert.equal(isAlive(pid), true);
  child.kill('SIGKILL');
  await until(async () => (pids.some(isGroupAlive) ? undefined : true), 15_000);
});

test('a process notices that its parent is gone', async () => {
  let parent = 100;
  const controller = new AbortController();
  const gone = parentGone(controller.signal, 10, () => parent);
  let resolved = false;
  void gone.then(() => (resolved = true));
  await sleep(50);
  assert.equal(resolved, false);
  parent = 1;
  await until(async () => resolved || undefined, 1000);
});

async function setup(t: TestContext, ports: number) {
  const folder = await mkdtemp(join(tmpdir(), 'parley-supervisor-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return { folder, ports: await freePorts(ports) };
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stream })) return line;
  return '';
}

async function until<T>(probe: () => Promise<T | undefined>, deadlineMs = 10_000): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    assert.ok(performance.now() < deadline, 'nothing happened in time');
    await sleep(20);
  }
}

function isAlive(pid: number): boolean {
  return signalled(pid) && !isZombie(pid);
}

function isGroupAlive(pid: number): boolean {
  return signalled(-pid) && !isZombie(pid);
}

function signalled(target: number): boolean {
  try {
    return process.kill(target, 0);
  } catch {
    return false;
  }
}

/** Ended, but not collected: what becomes of an orphan in a container whose first process collects none. */
function isZombie(pid: number): boolean {
  try {
    return /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false; // There is no /proc here, or the process is gone altogether.
  }
}

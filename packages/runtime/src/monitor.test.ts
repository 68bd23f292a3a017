import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  counter,
  createMetrics,
  createRegistry,
  createSilentLog,
  gauge,
  onCollect,
  startMonitor,
} from './index.js';
import type { MonitorOptions } from './index.js';

const TABLE = {
  made: counter('test_made_total', 'Things made', ['kind']),
  level: gauge('test_level', 'How full it is'),
};

async function serve(options: Partial<MonitorOptions> = {}) {
  const registry = createRegistry();
  const monitor = await startMonitor({
    listen: { host: '127.0.0.1', port: 0 },
    registry,
    notReady: () => undefined,
    log: createSilentLog(),
    ...options,
  });
  const get = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`http://127.0.0.1:${monitor.port}${path}`, init);
    return { status: response.status, text: await response.text() };
  };
  return { ...monitor, registry, get };
}

test('it is alive while it answers, and ready when it says so', async () => {
  let reason: string | undefined = 'peer is starting';
  await using monitor = await serve({ notReady: () => reason });
  assert.deepEqual(await monitor.get('/livez'), { status: 200, text: 'ok\n' });
  assert.deepEqual(await monitor.get('/readyz'), { status: 503, text: 'peer is starting\n' });
  reason = undefined;
  assert.equal((await monitor.get('/readyz?verbose')).status, 200);
});

test('metrics of a table are shown, made once however many parts ask for them', async () => {
  await using monitor = await serve();
  const [one, two] = [createMetrics(TABLE, monitor.registry), createMetrics(TABLE, monitor.registry)];
  one.made.inc({ kind: 'a' });
  two.made.inc({ kind: 'a' }, 2);
  createMetrics(TABLE).made.inc({ kind: 'a' });
  const { status, text } = await monitor.get('/metrics');
  assert.equal(status, 200);
  assert.match(text, /^# HELP test_made_total Things made$/m);
  assert.match(text, /^test_made_total\{kind="a"\} 3$/m);
  assert.match(text, /^process_cpu_seconds_total/m);
});

test('a value that cannot be read is not shown, and does not hide the others', async () => {
  await using monitor = await serve();
  const { level } = createMetrics(TABLE, monitor.registry);
  const values = [0.5, undefined, 0.7];
  onCollect(level, createSilentLog(), () => {
    const value = values.shift();
    if (value === undefined) throw new Error('not now');
    level.set(value);
  });
  const shown = async () => /^test_level (\S+)$/m.exec((await monitor.get('/metrics')).text)?.[1];
  assert.deepEqual([await shown(), await shown(), await shown()], ['0.5', undefined, '0.7']);
});

test('a value with labels that cannot be read hides the others as little', async () => {
  await using monitor = await serve();
  const { lag } = createMetrics({ lag: gauge('test_lag', 'Lag', ['consumer']) }, monitor.registry);
  let fails = false;
  onCollect(lag, createSilentLog(), () => {
    if (fails) throw new Error('not now');
    lag.set({ consumer: 'a' }, 4);
  });
  assert.match((await monitor.get('/metrics')).text, /^test_lag\{consumer="a"\} 4$/m);
  fails = true;
  const { status, text } = await monitor.get('/metrics');
  assert.equal(status, 200);
  assert.doesNotMatch(text, /^test_lag\{/m);
  assert.match(text, /^process_cpu_seconds_total/m);
});

test('other paths and methods are refused', async () => {
  await using monitor = await serve();
  assert.equal((await monitor.get('/')).status, 404);
  assert.equal((await monitor.get('/metrics', { method: 'POST', body: 'x' })).status, 405);
});

test('a port in use is named', async () => {
  await using monitor = await serve();
  await assert.rejects(serve({ listen: { host: '127.0.0.1', port: monitor.port } }), {
    reason: 'PORT_IN_USE',
  });
});

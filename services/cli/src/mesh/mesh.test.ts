import { once } from 'node:events';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startNatsServer } from '@parley/bus/testing';
import { createSilentLog, isParleyError, startGrpcServer } from '@parley/runtime';
import { demoPeers } from './demo-peers.js';
import { coordinatorAddress } from './find-coordinator.js';
import { freePorts } from './free-ports.js';
import { startLocalMesh, threadsPerPeer } from './local-mesh.js';
import { coordinatorService, peerService } from './mesh-services.js';
import { natsConfig } from './nats-config.js';
import { isNatsReady, isServing } from './probes.js';
import {
  claimStateFolder,
  readMeshFile,
  removeMeshFile,
  stateFolder,
  writeMeshFile,
} from './state-folder.js';

test('ports for a mesh are free, all different, and none that port 0 hands out', async (t) => {
  const [taken = 0] = await freePorts(1, () => 0.5);
  const holder = createServer().listen(taken, '127.0.0.1');
  await once(holder, 'listening');
  t.after(() => holder.close());
  const draws = [0.5, 0.25, 0.25, 0.75];
  const ports = await freePorts(2, () => draws.shift() ?? 0);
  assert.equal(new Set([taken, ...ports]).size, 3);
  assert.ok(ports.every((port) => port >= 15_000 && port < 32_000));
});

test('nats-server syncs every write where its version can', () => {
  const options = { host: '127.0.0.1', port: 4222, storeFolder: '/a "b"/nats' };
  assert.match(natsConfig({ ...options, version: '2.10.0' }), /sync_interval: always/);
  assert.match(natsConfig({ ...options, version: '2.9.10' }), /store_dir: "\/a \\"b\\"\/nats"\n}/);
  assert.doesNotMatch(natsConfig({ ...options, version: '2.9.10' }), /sync_interval/);
});

test('readiness is asked of the real thing', async () => {
  await using server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    services: [],
    log: createSilentLog(),
  });
  assert.equal(await isServing(server.address), false);
  server.setServing(true);
  assert.equal(await isServing(server.address), true);
  const [port = 0] = await freePorts(1);
  await assert.rejects(isServing(`127.0.0.1:${port}`));
  await assert.rejects(isNatsReady('127.0.0.1', port));

  await using nats = await startNatsServer();
  assert.equal(await isNatsReady('127.0.0.1', nats.port), true);
  await using bare = await startNatsServer({ jetstream: false });
  assert.equal(await isNatsReady('127.0.0.1', bare.port), false);
  const mute = createServer((socket) => socket.end()).listen(port, '127.0.0.1');
  await assert.rejects(isNatsReady('127.0.0.1', port), /closed without a greeting/);
  mute.close();
});

test('a state folder belongs to one mesh at a time, and a dead one lets go', async (t) => {
  const folder = stateFolder(await temporaryFolder(t));
  await claimStateFolder(folder);
  await assert.rejects(claimStateFolder(folder), (error) => {
    assert.ok(isParleyError(error, 'CONFIG_INVALID'));
    assert.match(
      error.message,
      new RegExp(`A mesh is up already in ${folder.root} \\(process ${process.pid}\\).*--state`),
    );
    return true;
  });
  await removeMeshFile(folder);
  await writeMeshFile(folder, { pid: 2 ** 22 + 1, startTime: '', peers: {}, coordinator: 'host:1' });
  assert.equal(await readMeshFile(folder), undefined);
  await claimStateFolder(folder);
  await writeFile(folder.meshFile, '{');
  await assert.rejects(readMeshFile(folder), /mesh\.json is not JSON; remove it if no mesh is up/);
  await writeFile(join(folder.root, 'file'), '');
  await assert.rejects(
    claimStateFolder(stateFolder(join(folder.root, 'file', 'x'))),
    /Cannot use .* as the state folder/,
  );
});

test('the coordinator is the given one, the one of the environment, or the one that is up here', async (t) => {
  const state = await temporaryFolder(t);
  const env = { PARLEY_COORDINATOR: 'env:1' };
  assert.equal(await coordinatorAddress({ coordinator: 'given:1', state, env }), 'given:1');
  assert.equal(await coordinatorAddress({ state, env }), 'env:1');
  assert.equal(await coordinatorAddress({ state, env: {} }), undefined);
  await writeMeshFile(stateFolder(state), {
    pid: process.pid,
    startTime: '',
    peers: {},
    coordinator: 'host:1',
  });
  assert.equal(await coordinatorAddress({ state, env: {} }), 'http://host:1');
});

test('services get their settings, and none that this process happens to have', () => {
  const env = {
    PATH: '/bin',
    PARLEY_NATS_URL: 'nats://elsewhere',
    PARLEY_LOG_LEVEL: 'debug',
    PARLEY_CACHE: '/c',
  };
  const context = { state: stateFolder('/s'), natsUrl: 'nats://127.0.0.1:1', env };
  const peer = peerService(context, { name: 'ant', folder: '/m' }, 7, {
    threads: 2,
    train: 'lora:8',
    device: 'cpu',
    quantization: 'int8',
  });
  assert.deepEqual(peer.env, {
    PATH: '/bin',
    PARLEY_LOG_LEVEL: 'debug',
    PARLEY_LISTEN: '127.0.0.1:7',
    PARLEY_NATS_URL: 'nats://127.0.0.1:1',
    PARLEY_PEER_NAME: 'ant',
    PARLEY_MODEL: '/m',
    PARLEY_STATE_DIR: '/s/peers/ant',
    PARLEY_THREADS: '2',
    PARLEY_SPINNING: 'false',
    PARLEY_TRAIN: 'lora:8',
    PARLEY_DEVICE: 'cpu',
    PARLEY_QUANTIZATION: 'int8',
  });
  assert.equal(peer.logFile, '/s/logs/ant.log');
  assert.ok(coordinatorService(context, 8).stopRank > peer.stopRank);
});

test('engine threads are shared out among the peers', () => {
  assert.deepEqual(
    [threadsPerPeer(3, 2), threadsPerPeer(3, 8), threadsPerPeer(1, 4), threadsPerPeer(0, 4)],
    [1, 2, 4, 4],
  );
});

test('a demo peer that is incomplete is named with the file', async (t) => {
  const folder = await temporaryFolder(t);
  assert.throws(
    () => demoPeers(folder),
    (error) => {
      assert.ok(isParleyError(error, 'CHECKPOINT_INVALID'));
      assert.match(error.message, /"llama" is incomplete: .*llama\/config\.json is missing.*parley pretrain/);
      return true;
    },
  );
});

test('a mesh whose peer cannot start says which and why, and leaves nothing up', async (t) => {
  const state = await temporaryFolder(t);
  const empty = await temporaryFolder(t);
  const signal = AbortSignal.timeout(60_000);
  const options = {
    state,
    peers: [{ name: 'ant', folder: empty }],
    withRuns: false,
    env: process.env,
    signal,
  };
  await assert.rejects(startLocalMesh(options), (error) => {
    assert.ok(isParleyError(error, 'SERVICE_UNAVAILABLE'));
    assert.match(error.message, /^ant did not start: it ended with exit code \d\. Its last lines:\n/);
    assert.match(error.message, /config\.json/);
    assert.match(error.message, /All of its log: .*logs\/ant\.log$/);
    return true;
  });
  assert.equal(await readMeshFile(stateFolder(state)), undefined);
});

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-mesh-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

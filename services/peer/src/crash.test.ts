import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BUCKETS, STREAMS, openKv } from '@parley/bus';
import { PeerAnnouncementSchema, PeerService } from '@parley/contracts';
import { createClient } from '@parley/runtime';
import { peerEnv, startMesh, startTestPeer, temporaryFolder, until, updateOf } from './peer-test-support.js';
import type { TestMesh } from './peer-test-support.js';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const CHILD = fileURLToPath(new URL('./peer-test-child.js', import.meta.url));

interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
  stdout: string;
}

interface Launched {
  process: ChildProcess;
  exited: Promise<Exit>;
}

/** Runs a program with Node as a process of its own, under shell settings where given (`ulimit`). */
function launch(mesh: TestMesh, program: string, env: Record<string, string>, shell = ''): Launched {
  const command = `${shell} exec "$0" "$1"`;
  const child = spawn('sh', ['-c', command, process.execPath, program], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  mesh.cleanup.use({
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
    },
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const exited = once(child, 'close').then((values: unknown[]) => {
    const [code, signal] = values as [number | null, NodeJS.Signals | null];
    return { ...output, code, signal };
  });
  return { process: child, exited };
}

async function announcedAddress(mesh: TestMesh, peer: string): Promise<string> {
  const peers = await openKv(mesh.bus, BUCKETS.peers, PeerAnnouncementSchema);
  let address: string | undefined;
  await until('announcement', async () => (address = (await peers.get(peer))?.value.address) !== undefined);
  return address ?? '';
}

async function untilAcknowledged(mesh: TestMesh, peer: string): Promise<void> {
  await until('all updates acknowledged', async () => {
    const { num_pending, num_ack_pending } = await mesh.bus.jsm.consumers.info(
      STREAMS.updates,
      `peer-${peer}`,
    );
    return num_pending === 0 && num_ack_pending === 0;
  });
}

async function undisturbedDigest(mesh: TestMesh, folder: string, rounds: number): Promise<string> {
  const peer = await startTestPeer(mesh, folder, { PARLEY_PEER_NAME: 'calm' });
  for (let round = 0; round < rounds; round++) {
    await peer.client.applyUpdate({ update: updateOf(round, { peer: 'calm' }) });
  }
  return (await peer.client.describe({})).weightsSha256;
}

test('killed at any moment of a commit, a peer applies each update once and ends with the same weights', async (t) => {
  const mesh = await startMesh(t);
  const wanted = await undisturbedDigest(mesh, await temporaryFolder(t), 2);
  const killed = async (moment: string) => {
    const stateDir = await temporaryFolder(t);
    const env = { PARLEY_PEER_NAME: moment };
    await mesh.publish(updateOf(0, { peer: moment }));
    await mesh.publish(updateOf(1, { peer: moment }));
    const child = launch(mesh, CHILD, { ...peerEnv(mesh, stateDir, env), KILL_BEFORE: moment });
    equal((await child.exited).signal, 'SIGKILL', moment);

    const peer = await startTestPeer(mesh, stateDir, env);
    ok((await peer.client.describe({})).version >= 1n, 'what was committed before the kill is there');
    await untilAcknowledged(mesh, moment);
    const { version, updatesApplied, weightsSha256 } = await peer.client.describe({});
    deepEqual([version, updatesApplied, weightsSha256], [2n, 2n, wanted], moment);
    const published = (await mesh.versions(moment)).map((committed) => committed.version);
    deepEqual(published, [1n, 2n]);
  };
  // Side by side: each waits out the 10 s after which a dead consumer's update is delivered again.
  await Promise.all(['store', 'publish', 'acknowledge'].map(killed));
});

test('killed while it trains, a peer begins the update again from what was committed', async (t) => {
  const mesh = await startMesh(t);
  const wanted = await undisturbedDigest(mesh, await temporaryFolder(t), 2);
  const stateDir = await temporaryFolder(t);
  const child = launch(mesh, MAIN, peerEnv(mesh, stateDir));
  const client = createClient(PeerService, await announcedAddress(mesh, 'ant'), { deadlineMs: 10_000 });
  mesh.cleanup.defer(() => client.close());
  await client.applyUpdate({ update: updateOf(0) });
  const endless = updateOf(1, { training: { ...updateOf(1).training!, epochs: 1000 } });
  const lost = client.applyUpdate({ update: endless }).catch(() => 'lost');
  await until('training', async () => (await client.describe({})).activity === 'training');
  child.process.kill('SIGKILL');
  equal((await child.exited).signal, 'SIGKILL');
  equal(await lost, 'lost');

  const peer = await startTestPeer(mesh, stateDir);
  await peer.client.applyUpdate({ update: updateOf(1) });
  const { version, weightsSha256 } = await peer.client.describe({});
  deepEqual([version, weightsSha256], [2n, wanted]);
});

test('with no room for the commit, the update fails by name and goes through once there is room', async (t) => {
  const mesh = await startMesh(t);
  const wanted = await undisturbedDigest(mesh, await temporaryFolder(t), 1);
  const stateDir = await temporaryFolder(t);
  const first = await startTestPeer(mesh, stateDir);
  const before = await first.client.describe({});
  await first.stop();
  const head = join(stateDir, 'head.safetensors');
  const content = await readFile(head);

  // Room for the version file, none for the head: moments make it three times as large. Blocks are 512 or 1024 bytes.
  const child = launch(mesh, MAIN, peerEnv(mesh, stateDir), 'ulimit -f 300;');
  await mesh.publish(updateOf(0));
  const peers = await openKv(mesh.bus, BUCKETS.peers, PeerAnnouncementSchema);
  let address = '';
  await until('second announcement', async () => {
    const { value, revision } = (await peers.get('ant')) ?? {};
    address = value?.address ?? '';
    return (revision ?? 0) > 2 && address !== '';
  });
  const client = createClient(PeerService, address, { deadlineMs: 10_000 });
  mesh.cleanup.defer(() => client.close());
  let failure = '';
  await client.applyUpdate({ update: updateOf(0) }).catch((error: Error & { reason: string }) => {
    equal(error.reason, 'DISK_FULL');
    failure = error.message;
  });
  ok(failure.includes(head), failure);
  match(failure, /bytes are needed.*raise its file size limit \(ulimit -f\).*the earlier file is intact/);
  const meanwhile = await client.describe({});
  deepEqual([meanwhile.version, meanwhile.weightsSha256], [0n, before.weightsSha256]);
  const { results } = await client.score({
    items: [{ itemId: 'i', question: 'what?', continuation: 'four' }],
    version: 0n,
  });
  equal(results[0]?.outcome.case, 'likelihood');
  child.process.kill('SIGTERM');
  const exit = await child.exited;
  equal(exit.code, 0, exit.stderr);
  deepEqual(await readFile(head), content);

  const peer = await startTestPeer(mesh, stateDir);
  await untilAcknowledged(mesh, 'ant');
  const { version, weightsSha256, updatesApplied } = await peer.client.describe({});
  deepEqual([version, weightsSha256, updatesApplied], [1n, wanted, 1n]);
  deepEqual(
    (await mesh.versions('ant')).map((committed) => committed.version),
    [1n],
  );
});

test('the program says what is wrong and exits by it', async (t) => {
  const mesh = await startMesh(t);
  const stateDir = await temporaryFolder(t);
  const run = (env: Record<string, string>) => launch(mesh, MAIN, env).exited;

  const unset = await run({ PARLEY_THREADS: 'many' });
  equal(unset.code, 2);
  for (const name of ['PARLEY_PEER_NAME', 'PARLEY_MODEL', 'PARLEY_STATE_DIR', 'PARLEY_THREADS: "many"'])
    ok(unset.stderr.includes(name), unset.stderr);

  const noModel = await run(peerEnv(mesh, stateDir, { PARLEY_MODEL: '/nowhere/at/all' }));
  ok(noModel.code !== 0 && noModel.stderr.includes('/nowhere/at/all'), noModel.stderr);

  const taken = await run(peerEnv(mesh, stateDir, { PARLEY_LISTEN: mesh.url.replace('nats://', '') }));
  equal(taken.code, 1);
  match(taken.stderr, /Port \d+ on 127.0.0.1 is in use/);

  const { size } = await stat(join(stateDir, 'head.safetensors'));
  await truncate(join(stateDir, 'head.safetensors'), size / 2);
  const corrupt = await run(peerEnv(mesh, stateDir));
  equal(corrupt.code, 1);
  match(corrupt.stderr, /head\.safetensors cannot be read back: .* truncated.* Put a copy of the file there/);
});

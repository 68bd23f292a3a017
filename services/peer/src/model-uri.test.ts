import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkpointDigest } from '@parley/models';
import { repoOf, startHubServer, startS3Server } from '@parley/models/testing';
import type { FaultPlan } from '@parley/models/testing';
import {
  modelFolder,
  peerEnv,
  startMesh,
  startTestPeer,
  temporaryFolder,
  until,
} from './peer-test-support.js';

/** A hub whose weights come only when the test lets them. */
async function hubWithLlama(t: TestContext, faults?: FaultPlan) {
  const repo = await repoOf(modelFolder('llama'));
  return startHubServer(t, { repos: { 'tiny/llama': repo }, ...(faults && { faults }) });
}

const isWeights = (path: string) => /^\/[0-9a-f]{64}$/.test(path);

test('a peer whose model lies on a hub fetches it, serves it, and starts again without the hub', async (t) => {
  const mesh = await startMesh(t);
  const hub = await hubWithLlama(t);
  const [home, state] = [await temporaryFolder(t), await temporaryFolder(t)];
  const env = { PARLEY_MODEL: 'hf://tiny/llama', HF_ENDPOINT: hub.url, HF_HOME: home };
  const doing: string[] = [];
  const first = await startTestPeer(mesh, state, env, { report: (text) => void doing.push(text) });
  equal((await first.client.describe({})).name, 'ant');
  deepEqual([doing[0], doing.at(-1)], ['fetching hf://tiny/llama@main, 0 % of 156 kB', 'loading the model']);
  ok(doing.includes('fetching hf://tiny/llama@main, 100 % of 156 kB'));
  await first.stop();
  const before = hub.asked.length;
  const again = await startTestPeer(mesh, state, { ...env, HF_HUB_OFFLINE: '1' });
  equal((await again.client.describe({})).name, 'ant');
  equal(hub.asked.length, before);
});

test('/readyz says what a peer that starts is at', async (t) => {
  const mesh = await startMesh(t);
  const hub = await hubWithLlama(t, ({ path }) =>
    isWeights(path) ? { kind: 'stall', afterBytes: 70_000 } : undefined,
  );
  const port = await freePort();
  const peer = run(t, 'main.js', {
    ...peerEnv(mesh, await temporaryFolder(t)),
    PARLEY_MODEL: 'hf://tiny/llama',
    PARLEY_MONITOR_LISTEN: `127.0.0.1:${port}`,
    HF_ENDPOINT: hub.url,
    HF_HOME: await temporaryFolder(t),
  });
  let said = '';
  await until('the peer says how far it is', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    said = (await answer?.text()) ?? '';
    return / [1-9]\d* %/.test(said);
  });
  equal(said, 'peer is starting: fetching hf://tiny/llama@main, 52 % of 156 kB\n');
  peer.kill('SIGTERM');
  deepEqual(await once(peer, 'exit'), [0, null]);
});

test('the step before a peer brings a model from a hub or a bucket to its folder, once', async (t) => {
  const hub = await hubWithLlama(t);
  const folder = await temporaryFolder(t);
  const target = join(folder, 'model');
  const digest = await checkpointDigest(modelFolder('llama'));
  const hubEnv = { PARLEY_MODEL: target, PARLEY_MODEL_URI: 'hf://tiny/llama@main', HF_ENDPOINT: hub.url };
  const fetchWith = async (env: Record<string, string>) => {
    const step = run(t, 'fetch-model/main.js', env);
    let stderr = '';
    step.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [code] = (await once(step, 'close')) as [number];
    return { code, stderr };
  };
  deepEqual(await fetchWith({ ...hubEnv, PARLEY_MODEL_SHA256: digest }), { code: 0, stderr: '' });
  equal(await checkpointDigest(target), digest);
  deepEqual(await readdir(folder), ['model']);
  const before = hub.asked.length;
  equal((await fetchWith(hubEnv)).code, 0);
  equal(hub.asked.length, before);
  const other = await fetchWith({ ...hubEnv, PARLEY_MODEL_SHA256: '0'.repeat(64) });
  match(other.stderr, /^fetch-model: The model in .* but PARLEY_MODEL_SHA256 is 0000/);

  await rm(target, { recursive: true });
  const { files } = await repoOf(modelFolder('llama'));
  const objects = new Map([...files].map(([name, content]) => [`llama/${name}`, content]));
  const keys = { region: 'us-east-1', accessKeyId: 'AKID', secretAccessKey: 'secret' };
  const store = await startS3Server(t, { bucket: 'models', objects, ...keys });
  const s3Env = {
    PARLEY_MODEL: target,
    PARLEY_MODEL_URI: 's3://models/llama',
    AWS_ENDPOINT_URL: store.url,
    AWS_ACCESS_KEY_ID: keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
  };
  deepEqual(await fetchWith(s3Env), { code: 0, stderr: '' });
  equal(await checkpointDigest(target), digest);
});

function run(t: TestContext, program: string, env: Record<string, string>) {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [path], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

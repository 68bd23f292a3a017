import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { checkpointDigest } from '@parley/models';
import { modelFolder, repoOf, startHubServer } from '@parley/models/testing';
import type { FaultPlan } from '@parley/models/testing';
import { runCommandLine } from '../fixtures/test-cli.js';
import { fetchPeers } from '../input/fetch-peers.js';
import { createTerminal } from '../output/terminal.js';

async function setUp(t: TestContext, faults?: FaultPlan) {
  const cwd = await realpath(await mkdtemp(join(tmpdir(), 'parley-pull-')));
  t.after(() => rm(cwd, { recursive: true, force: true }));
  const repo = { ...(await repoOf(modelFolder('llama'))), gatedFor: ['hf_allowed'] };
  const hub = await startHubServer(t, { repos: { 'tiny/llama': repo }, ...(faults && { faults }) });
  const env = { HF_ENDPOINT: hub.url, HF_HOME: join(cwd, 'hf') };
  return { cwd, env, hub, commit: repo.commit };
}

test('pull prints the folder of the model, and goes on where it was interrupted', async (t) => {
  const { cwd, env, hub, commit } = await setUp(t, ({ path }, times) =>
    /^\/[0-9a-f]{64}$/.test(path) && times === 1 ? { kind: 'break', afterBytes: 900 } : undefined,
  );
  await writeFile(join(cwd, 'token'), 'hf_allowed\n');
  const pull = ['pull', 'tiny/llama', '--token-file', 'token'];
  const { code, stdout, stderr } = await runCommandLine(pull, { cwd, env });
  equal(code, 0, stderr);
  const folder = join(cwd, 'hf', 'hub', 'models--tiny--llama', 'snapshots', commit);
  equal(stdout, `${folder}\n`);
  equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
  match(stderr, /^Fetching 6 files of hf:\/\/tiny\/llama@main: 156 kB\n/);
  match(stderr, /could not be read: .*; trying again in/);
  ok(!stderr.includes('hf_allowed'));
  deepEqual(
    hub.store.asked.map(({ range }) => range),
    [undefined, 'bytes=900-'],
  );

  const sha256 = await checkpointDigest(folder);
  const again = await runCommandLine([...pull, '--json', '--sha256', sha256], { cwd, env });
  deepEqual(JSON.parse(again.stdout), { model: 'hf://tiny/llama@main', commit, folder, sha256 });
  match(again.stderr, new RegExp(`^hf://tiny/llama@main, commit ${commit}, SHA-256 ${sha256}\n$`));
  const cache = await runCommandLine([...pull, '--cache', 'elsewhere'], { cwd, env });
  match(cache.stdout, /\/elsewhere\/models--tiny--llama\/snapshots\//);
});

test('pull says what to do about a gated model, and exits as for any wrong input or failure', async (t) => {
  const { cwd, env } = await setUp(t);
  const gated = await runCommandLine(['pull', 'tiny/llama', '--json'], { cwd, env });
  equal(gated.code, 1);
  match(
    gated.stderr,
    /tiny\/llama is gated\. Log in at .* and accept its terms.*\(--token-file, HF_TOKEN_PATH\)/,
  );
  equal((JSON.parse(gated.stdout) as { error: { reason: string } }).error.reason, 'PERMISSION_DENIED');
  const allowed = { ...env, HF_TOKEN: 'hf_allowed' };
  equal((await runCommandLine(['pull', 'tiny/llama@nowhere'], { cwd, env: allowed })).code, 2);
  const other = await runCommandLine(['pull', 'tiny/llama', '--sha256', '0'.repeat(64)], {
    cwd,
    env: allowed,
  });
  equal(other.code, 1);
  match(other.stderr, /has the digest [0-9a-f]{64}, but PARLEY_MODEL_SHA256 is 0000/);
  equal((await runCommandLine(['pull', 'tiny/llama', '--sha256', 'short'], { cwd, env })).code, 2);
});

test('a peer that is given as a model of the hub becomes one in a folder', async (t) => {
  const { cwd, env } = await setUp(t);
  const lines: string[] = [];
  const cli = {
    env: { ...env, HF_TOKEN: 'hf_allowed' },
    terminal: createTerminal({ sink: { write: (text) => lines.push(text) } }),
    signal: new AbortController().signal,
  };
  const uri = { kind: 'hub', repo: 'tiny/llama', revision: 'main' } as const;
  const peers = await fetchPeers(cli, [
    { kind: 'name', name: 'b' },
    { kind: 'model', name: 'a', uri },
  ]);
  deepEqual(peers[0], { kind: 'name', name: 'b' });
  const folder = peers[1]?.kind === 'folder' ? peers[1].folder : '';
  ok(folder.startsWith(join(cwd, 'hf')));
  match(await readFile(join(folder, 'config.json'), 'utf8'), /LlamaForCausalLM/);
  match(lines.join(''), /^Fetching 6 files of hf:\/\/tiny\/llama@main/);
});

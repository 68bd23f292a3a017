import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { lstat, mkdir, readFile, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { scanCacheDir } from '@huggingface/hub';
import { checkpointDigest } from './checkpoint-digest.js';
import { partialPath } from './download.js';
import { requireRoom } from './room.js';
import {
  HASTE_IN_SILENCE,
  modelFolder,
  obtain,
  repoOf,
  startHubServer,
  temporaryFolder,
} from './testing/index.js';
import type { FaultPlan, HubRepo } from './testing/index.js';

const SECRET = 'hf_secret';
const WEIGHTS = 144_720;

/** A hub with tiny/llama, a cache, and the environment that leads there. */
async function setUp(t: TestContext, faults?: FaultPlan, repo: Partial<HubRepo> = {}) {
  const home = await temporaryFolder(t);
  const llama = {
    ...(await repoOf(modelFolder('llama'), { 'README.md': '# A model', 'modeling.py': 'import os' })),
    ...repo,
  };
  const hub = await startHubServer(t, {
    repos: { 'tiny/llama': llama },
    ...(faults && { faults }),
    pageSize: 3,
  });
  const root = join(home, 'hub', 'models--tiny--llama');
  return { hub, home, root, commit: llama.commit, env: { HF_ENDPOINT: hub.url, HF_HOME: home } };
}

const isWeights = (path: string) => /^\/[0-9a-f]{64}$/.test(path);

test('a model comes into the cache in the layout of the hub, with what a peer needs and nothing else', async (t) => {
  const { hub, home, root, commit, env } = await setUp(t);
  const { folder, recorder, ...obtained } = await obtain('hf://tiny/llama', { ...env, HF_TOKEN: SECRET });
  deepEqual([folder, obtained.commit], [join(root, 'snapshots', commit), commit]);
  equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
  deepEqual(await readdir(folder), await readdir(modelFolder('llama')));
  equal(await readFile(join(root, 'refs', 'main'), 'utf8'), commit);
  ok((await lstat(join(folder, 'model.safetensors'))).isSymbolicLink());
  match(await readlink(join(folder, 'model.safetensors')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
  match(await readlink(join(folder, 'config.json')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
  equal((await readdir(join(root, 'blobs'))).length, 6);
  const { repos, warnings } = await scanCacheDir(join(home, 'hub'));
  deepEqual(
    [repos.map(({ id }) => id.name), repos[0]?.revisions[0]?.refs, warnings],
    [['tiny/llama'], ['main'], []],
  );
  const total = recorder.plans[0]?.totalBytes;
  deepEqual([recorder.received, recorder.plans.length, recorder.notices], [total, 1, []]);

  ok(hub.asked.every(({ authorization }) => authorization === `Bearer ${SECRET}`));
  ok(hub.store.asked.length > 0 && hub.store.asked.every(({ authorization }) => authorization === undefined));
});

test('what the cache has is not asked for again, unless it is to be brought up to date', async (t) => {
  const { hub, root, commit, env } = await setUp(t);
  const { folder } = await obtain('hf://tiny/llama', env);
  const before = hub.asked.length;
  equal((await obtain('hf://tiny/llama', env)).folder, folder);
  equal((await obtain(`hf://tiny/llama@${commit}`, env)).folder, folder);
  equal((await obtain('hf://tiny/llama', { ...env, HF_HUB_OFFLINE: '1' }, { refresh: true })).folder, folder);
  equal(hub.asked.length, before);

  await truncate(join(folder, 'model.safetensors'), 5000);
  const { recorder } = await obtain('hf://tiny/llama', env, { refresh: true });
  match(recorder.notices[0] ?? '', /\(model\.safetensors\) is damaged in the cache and is fetched again/);
  equal(hub.store.asked.length, 2);
  equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
  await rm(join(root, 'blobs'), { recursive: true });
  await rejects(obtain('hf://tiny/llama', { ...env, HF_HUB_OFFLINE: '1' }), {
    reason: 'MODEL_UNKNOWN',
    message: /not whole, in the cache .*, and HF_HUB_OFFLINE forbids .* \(parley pull\)/,
  });
});

test('a connection that breaks, falls silent or is refused for a while is gone on with where it was', async (t) => {
  const { hub, env } = await setUp(t, ({ path }, times) => {
    if (path.endsWith('/revision/main') && times === 1)
      return { kind: 'status', status: 503, headers: { 'retry-after': '1' } };
    if (!isWeights(path)) return undefined;
    const faults = [
      { kind: 'break', afterBytes: 1000 },
      { kind: 'stall', afterBytes: 2000 },
      { kind: 'status', status: 429 },
      { kind: 'truncate', bytes: 8000 },
    ] as const;
    return faults[times - 1];
  });
  const startMs = performance.now();
  const { folder, recorder } = await obtain('hf://tiny/llama', env, { patience: HASTE_IN_SILENCE });
  ok(performance.now() - startMs >= 1000, 'Retry-After is heeded');
  equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
  deepEqual(
    hub.store.asked.map(({ range }) => range),
    [undefined, 'bytes=1000-', 'bytes=3000-', 'bytes=3000-', 'bytes=8000-'],
  );
  equal(recorder.received, recorder.plans[0]?.totalBytes);
  match(
    recorder.notices.join('\n'),
    /status 503; trying again in 1\.0 s[\s\S]*nothing for 1\.5 s[\s\S]*status 429/,
  );
});

test('what an earlier process left is gone on with, and counts as there', async (t) => {
  const failing: FaultPlan = ({ path }, times) =>
    isWeights(path) && times <= 4 ? { kind: 'break', afterBytes: times === 1 ? 5000 : 0 } : undefined;
  const { hub, root, env } = await setUp(t, failing);
  await rejects(obtain('hf://tiny/llama', env), {
    reason: 'SERVICE_UNAVAILABLE',
    message: /given up after 4 attempts\. What arrived is kept/,
  });
  ok((await readdir(join(root, 'blobs'))).some((name) => name.endsWith('.incomplete')));
  deepEqual(await readdir(join(root, 'snapshots', (await readdir(join(root, 'snapshots')))[0] ?? '')), []);
  const { folder, recorder } = await obtain('hf://tiny/llama', env);
  equal(hub.store.asked.at(-1)?.range, 'bytes=5000-');
  equal(recorder.received, WEIGHTS - 5000);
  equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
});

test('wrong bytes are thrown away and fetched once more, and refused if they are wrong again', async (t) => {
  for (const [lasting, file] of [
    [false, 'model.safetensors'],
    [true, 'model.safetensors'],
    [true, 'config.json'],
  ] as const) {
    const wrong: FaultPlan = ({ path }, times) =>
      (file === 'config.json' ? path.endsWith(file) : isWeights(path)) && (lasting || times === 1)
        ? { kind: 'wrong-bytes' }
        : undefined;
    const { root, env } = await setUp(t, wrong);
    if (!lasting) {
      const { folder, recorder } = await obtain('hf://tiny/llama', env);
      equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
      equal(recorder.received, recorder.plans[0]?.totalBytes);
      continue;
    }
    const algorithm = file === 'config.json' ? 'git-blob' : 'sha256';
    await rejects(obtain('hf://tiny/llama', env), {
      reason: 'DIGEST_MISMATCH',
      message: new RegExp(`${file} has the ${algorithm} digest [0-9a-f]+, but [0-9a-f]+ is expected`),
    });
    equal((await readdir(join(root, 'blobs'))).filter((name) => name.includes('incomplete')).length, 0);
  }
});

test('a partial file of other content ends with the right one', async (t) => {
  const { root, env } = await setUp(t);
  const { folder } = await obtain('hf://tiny/llama', env);
  const blob = join(
    root,
    'blobs',
    (await readlink(join(folder, 'model.safetensors'))).slice('../../blobs/'.length),
  );
  for (const left of ['of something else', Buffer.alloc(WEIGHTS), Buffer.alloc(WEIGHTS + 1)]) {
    await rm(blob);
    await writeFile(partialPath(blob), left);
    await obtain('hf://tiny/llama', env, { refresh: true });
    equal(await checkpointDigest(folder), await checkpointDigest(modelFolder('llama')));
  }
});

test('refusals say what to do, and never show the token', async (t) => {
  const { env } = await setUp(t, undefined, { gatedFor: ['hf_allowed'] });
  const refused = async (uri: string, more: Record<string, string>, reason: string, message: RegExp) =>
    rejects(obtain(uri, { ...env, ...more }), (error: Error & { reason?: string }) => {
      equal(error.reason, reason);
      match(error.message, message);
      ok(!JSON.stringify([error.message, String(error.cause), error.stack]).includes(SECRET));
      return true;
    });
  const gated = 'hf://tiny/llama';
  await refused(
    gated,
    {},
    'PERMISSION_DENIED',
    /tiny\/llama is gated\. Log in at http:\/\/.*\/tiny\/llama and accept its terms/,
  );
  await refused(
    gated,
    {},
    'PERMISSION_DENIED',
    /give it with HF_TOKEN or in a file .*The hub says: "Access to model/s,
  );
  await refused(
    gated,
    { HF_TOKEN: SECRET },
    'PERMISSION_DENIED',
    /the account of the token from HF_TOKEN has no access/,
  );
  await refused(
    gated,
    { HF_TOKEN: 'hf_revoked' },
    'UNAUTHENTICATED',
    /does not know the token from HF_TOKEN: .* revoked/,
  );
  await refused(
    'hf://tiny/none',
    {},
    'MODEL_UNKNOWN',
    /has no model "tiny\/none", or it is private and no token is given/,
  );
  await refused(
    'hf://tiny/none',
    { HF_TOKEN: SECRET },
    'MODEL_UNKNOWN',
    /or the token from HF_TOKEN may not see it/,
  );
  await refused(`${gated}@v2`, {}, 'MODEL_UNKNOWN', /tiny\/llama has no branch, tag or commit "v2"/);
  await refused(
    gated,
    { PARLEY_MODEL_MAX_BYTES: '90000' },
    'MESSAGE_TOO_LARGE',
    /has 155\d\d\d bytes \(156 kB\), more than the 90000/,
  );
  await refused(
    gated,
    { HF_ENDPOINT: 'http://hub.invalid', HF_TOKEN: SECRET },
    'CONFIG_INVALID',
    /let anybody on the way read the token/,
  );
  await refused(
    gated,
    { HF_TOKEN_PATH: '/no/such/file' },
    'CONFIG_INVALID',
    /Cannot read the token in \/no\/such\/file/,
  );
  await refused(gated, { HF_TOKEN: 'two words' }, 'CONFIG_INVALID', /The token from HF_TOKEN .*spaces/);
  await refused(
    gated,
    { HF_HUB_CACHE: join(modelFolder('llama'), 'config.json') },
    'CONFIG_INVALID',
    /cannot be written to.*Set HF_HOME, HF_HUB_CACHE/,
  );
});

test('a token is taken from where Hugging Face keeps it: the environment before the file, one for this model before both', async (t) => {
  const { hub, home, env } = await setUp(t, undefined, {
    gatedFor: ['hf_file', 'hf_environment', 'hf_given'],
  });
  await writeFile(join(home, 'token'), 'hf_file\n');
  const other = join(home, 'given');
  await writeFile(other, 'hf_given\n');
  const sent = async (more: Record<string, string>) => {
    await obtain('hf://tiny/llama', { ...env, ...more }, { refresh: true });
    return hub.asked.at(-1)?.authorization;
  };
  equal(await sent({}), 'Bearer hf_file');
  equal(await sent({ HF_TOKEN: 'hf_environment' }), 'Bearer hf_environment');
  equal(await sent({ HF_TOKEN: 'hf_environment', PARLEY_MODEL_TOKEN_FILE: other }), 'Bearer hf_given');
  equal(await sent({ HF_TOKEN_PATH: other }), 'Bearer hf_given');
});

test('redirections end: in circles, to nowhere, and in what cannot be trusted', async (t) => {
  const to =
    (location: string): FaultPlan =>
    ({ path }) =>
      path.endsWith('/config.json') ? { kind: 'status', status: 302, headers: { location } } : undefined;
  for (const [location, message] of [
    ['config.json', /is redirected more than 10 times/],
    ['file:///etc/passwd', /redirects to null, which anybody on the way could change/],
    ['http://', /redirects to "http:\/\/", which is no URL/],
  ] as const) {
    const { env } = await setUp(t, to(location));
    await rejects(obtain('hf://tiny/llama', env), { reason: 'REMOTE_FAILURE', message });
  }
});

test('what is no hub, or one that says nonsense, is named', async (t) => {
  for (const [end, body, message] of [
    [
      '/revision/main',
      '<html>Log in to the network</html>',
      /does not answer as a hub does \(HF_ENDPOINT\): .*JSON/,
    ],
    ['/revision/main', '{"sha": 7}', /"7" is no commit/],
    ['/tree/', '[null]', /does not answer as a hub does/],
    [
      '/tree/',
      '[{"type":"file","path":"config.json","size":1},{"type":"file","path":"tokenizer.json"},{"type":"file","path":"model.safetensors"}]',
      /no size and digest of config\.json/,
    ],
  ] as const) {
    const { env } = await setUp(t, ({ path }) =>
      path.includes(end) ? { kind: 'status', status: 200, body } : undefined,
    );
    await rejects(obtain('hf://tiny/llama', env), { reason: 'REMOTE_FAILURE', message });
  }
});

test('a list that goes on elsewhere is not given the token', async (t) => {
  const other = await startHubServer(t, { repos: {} });
  const { env } = await setUp(t, ({ path }) =>
    path.includes('/tree/')
      ? { kind: 'status', status: 200, headers: { link: `<${other.url}/more>; rel="next"` }, body: '[]' }
      : undefined,
  );
  await rejects(obtain('hf://tiny/llama', { ...env, HF_TOKEN: SECRET }));
  deepEqual(
    other.asked.map(({ authorization }) => authorization),
    [undefined],
  );
});

test('a model that does not fit on the disk is refused before it is fetched', async (t) => {
  const folder = await temporaryFolder(t);
  await requireRoom({ label: 'a', folder, totalBytes: 1000, presentBytes: 0 }, 1000);
  await rejects(requireRoom({ label: 'a', folder, totalBytes: 2 ** 60, presentBytes: 1e9 }, Infinity), {
    reason: 'DISK_FULL',
    message: /^a needs 115292\d+\.\d+ GB more in .*, where .* are free; make room there/,
  });
});

test('a repository without what a peer needs is refused before anything is fetched', async (t) => {
  const files = new Map([
    ['config.json', Buffer.from('{}')],
    ['tokenizer.json', Buffer.from('{}')],
    ['pytorch_model.bin', Buffer.from('x')],
  ]);
  const { hub, env } = await setUp(t, undefined, { files });
  await rejects(obtain('hf://tiny/llama', env), {
    reason: 'CHECKPOINT_INVALID',
    message:
      /hf:\/\/tiny\/llama@main has no model\.safetensors\. It has pytorch_model\.bin, which is not read/,
  });
  equal(hub.asked.filter(({ path }) => path.includes('/resolve/')).length, 0);
});

test('the deadline ends it by name, and processes that want the same model wait for the first', async (t) => {
  const { env } = await setUp(t, ({ path }) =>
    isWeights(path) ? { kind: 'stall', afterBytes: 10 } : undefined,
  );
  await rejects(
    obtain('hf://tiny/llama', { ...env, PARLEY_MODEL_DEADLINE: '1s' }, { patience: { stallMs: 60_000 } }),
    {
      reason: 'DEADLINE_EXCEEDED',
      message: /fetching hf:\/\/tiny\/llama@main \(PARLEY_MODEL_DEADLINE\)/,
    },
  );
  const slow = await setUp(t, ({ path }, times) =>
    isWeights(path) && times === 1 ? { kind: 'stall', afterBytes: 10 } : undefined,
  );
  const all = await Promise.all(
    [1, 2, 3].map(async () => obtain('hf://tiny/llama', slow.env, { patience: HASTE_IN_SILENCE })),
  );
  equal(slow.hub.store.asked.length, 2);
  equal(
    all.flatMap(({ recorder }) => recorder.notices).filter((text) => text.includes('waiting for it')).length,
    2,
  );
});

test('a model that the cache has from elsewhere is found, without a hub', async (t) => {
  const home = await temporaryFolder(t);
  const commit = 'c'.repeat(40);
  const root = join(home, 'models--a--b');
  await mkdir(join(root, 'snapshots', commit), { recursive: true });
  await mkdir(join(root, 'refs'), { recursive: true });
  for (const name of ['config.json', 'tokenizer.json', 'model.safetensors'])
    await writeFile(join(root, 'snapshots', commit, name), '{}');
  await writeFile(join(root, 'refs', 'main'), commit);
  const { folder } = await obtain('hf://a/b', { HF_HUB_CACHE: home, HF_HUB_OFFLINE: 'YES' });
  equal(folder, join(root, 'snapshots', commit));
  await rejects(
    obtain('hf://a/b', { HF_HUB_CACHE: home, HF_HUB_OFFLINE: '1', PARLEY_MODEL_SHA256: '0'.repeat(64) }),
    {
      reason: 'DIGEST_MISMATCH',
    },
  );
});

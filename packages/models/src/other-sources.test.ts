import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { readConfig, sha256 } from '@parley/runtime';
import { checkpointDigest } from './checkpoint-digest.js';
import { partialPath } from './download.js';
import { MODEL_FIELDS } from './model-fields.js';
import { parseModelUri } from './model-uri.js';
import { copyModel } from './obtain-model.js';
import {
  answerWith,
  createRecorder,
  HASTE,
  HASTE_IN_SILENCE,
  modelFolder,
  obtain,
  startS3Server,
  startTestServer,
  temporaryFolder,
} from './testing/index.js';
import type { FaultPlan, S3ServerOptions } from './testing/index.js';

const SHARDED = modelFolder('llama-sharded');
const SHARD = 'model-00002-of-00004.safetensors';

async function filesIn(folder: string): Promise<Map<string, Buffer>> {
  const names = await readdir(folder);
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name))] as const)),
  );
}

/** A web server with the files of a folder below /models/x/. */
async function serve(t: TestContext, folder: string, faults: FaultPlan = () => undefined, etag = '"tag"') {
  const files = await filesIn(folder);
  const server = await startTestServer(t, faults, async ({ asked, request, response, fault }) => {
    const content = files.get(asked.path.replace('/models/x/', ''));
    if (content === undefined) return void response.writeHead(404).end();
    const isStale = request.headers['if-range'] !== undefined && request.headers['if-range'] !== etag;
    answerWith(response, content, isStale ? { ...asked, range: undefined } : asked, fault, { etag });
  });
  return { server, uri: `${server.url}/models/x` };
}

/** A store with a model below `llamas/a+b c/`, and the environment that leads there. */
async function store(t: TestContext, more: Partial<S3ServerOptions> = {}) {
  const objects = new Map<string, Buffer>();
  for (const [name, content] of await filesIn(SHARDED)) objects.set(`llamas/a+b c/${name}`, content);
  objects.set('llamas/a+b c/checkpoint/optimizer.safetensors', Buffer.from('not below'));
  objects.set('llamas/a+b c/run.py', Buffer.from('import os'));
  const keys = { region: 'eu-west-1', accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalr/XUtnFEMI' };
  const server = await startS3Server(t, { bucket: 'models', objects, ...keys, ...more });
  const env = {
    AWS_ENDPOINT_URL: server.url,
    AWS_REGION: keys.region,
    AWS_ACCESS_KEY_ID: keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    PARLEY_CACHE: await temporaryFolder(t),
  };
  return { server, env, objects, uri: 's3://models/llamas/a+b c' };
}

test('s3: a model comes whole from below a prefix, through pages of the list, and is not fetched twice', async (t) => {
  const { server, env, uri } = await store(t, { pageSize: 3 });
  const { folder, recorder } = await obtain(uri, env);
  equal(await checkpointDigest(folder), await checkpointDigest(SHARDED));
  deepEqual(await readdir(folder), await readdir(SHARDED));
  equal(recorder.received, recorder.plans[0]?.totalBytes);
  const before = server.asked.length;
  equal((await obtain(`${uri}/`, env)).folder, folder);
  equal(server.asked.length, before);
  deepEqual(await readdir(join(env.PARLEY_CACHE, 'models')), [folder.split('/').at(-1)]);
});

test('s3: interruptions are gone on with, wrong bytes are found by the MD5 that an entity tag is, except where it is none', async (t) => {
  const faults: FaultPlan = ({ path }, times) => {
    if (path === '/models/' && times === 1)
      return { kind: 'status', status: 503, body: '<Error><Code>SlowDown</Code></Error>' };
    if (!path.endsWith(SHARD)) return undefined;
    return (
      [
        { kind: 'break', afterBytes: 700 },
        { kind: 'stall', afterBytes: 300 },
        { kind: 'wrong-bytes' },
      ] as const
    )[times - 1];
  };
  const { server, env, uri } = await store(t, { faults });
  const { folder, recorder } = await obtain(uri, env, { patience: HASTE_IN_SILENCE });
  equal(await checkpointDigest(folder), await checkpointDigest(SHARDED));
  deepEqual(
    server.askedFor(SHARD).map(({ range }) => range),
    [undefined, 'bytes=700-', 'bytes=1000-', undefined],
  );
  equal(recorder.received, recorder.plans[0]?.totalBytes);
  const encrypted = await store(t, { encrypted: true });
  equal(
    await checkpointDigest((await obtain(encrypted.uri, encrypted.env)).folder),
    await checkpointDigest(SHARDED),
  );
});

test('s3: refusals say what to do', async (t) => {
  const { env, uri, objects } = await store(t);
  const refused = async (more: Record<string, string>, reason: string, message: RegExp, from = uri) =>
    rejects(obtain(from, { ...env, ...more }), { reason, message });
  const anonymous = { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' };
  await refused(
    anonymous,
    'PERMISSION_DENIED',
    /may not be read with no access key \(set AWS_ACCESS_KEY_ID and/,
  );
  await refused({ AWS_SECRET_ACCESS_KEY: '' }, 'CONFIG_INVALID', /belong together: give both or none/);
  await refused(
    { AWS_SECRET_ACCESS_KEY: 'x' },
    'UNAUTHENTICATED',
    /access key AKIDEXAMPLE: SignatureDoesNotMatch.*says: "no: "Sig/,
  );
  await refused({ AWS_ACCESS_KEY_ID: 'other' }, 'UNAUTHENTICATED', /InvalidAccessKeyId/);
  await refused({}, 'MODEL_UNKNOWN', /There is no bucket nothing \(region eu-west-1\)/, 's3://nothing/a');
  await refused({}, 'CHECKPOINT_INVALID', /^s3:\/\/models\/b\/ has no config\.json/, 's3://models/b');
  const moved = await store(t, {
    faults: () => ({ kind: 'status', status: 301, headers: { 'x-amz-bucket-region': 'us-west-2' } }),
  });
  await rejects(obtain(uri, moved.env), {
    reason: 'CONFIG_INVALID',
    message: /lies in the region us-west-2, .* set AWS_REGION=us-west-2/,
  });
  const replaced = await store(t, {
    objects,
    faults: ({ path }) => (path.endsWith(SHARD) ? { kind: 'status', status: 412 } : undefined),
  });
  await rejects(obtain(uri, replaced.env), {
    reason: 'REVISION_CONFLICT',
    message: /was replaced while it was fetched/,
  });
});

test('web: a folder of a server arrives whole, shards and all, goes on where it broke, and is not fetched twice', async (t) => {
  const PARLEY_CACHE = await temporaryFolder(t);
  const { server, uri } = await serve(t, SHARDED, ({ path, method }, times) => {
    if (!path.endsWith(SHARD) || method === 'HEAD') return undefined;
    return times <= 2 ? { kind: 'break', afterBytes: 1000 * times } : undefined;
  });
  const env = { PARLEY_CACHE, PARLEY_MODEL_SHA256: await checkpointDigest(SHARDED) };
  const { folder } = await obtain(uri, env);
  equal(await checkpointDigest(folder), env.PARLEY_MODEL_SHA256);
  deepEqual(
    server.askedFor(SHARD).flatMap(({ range, method }) => (method === 'GET' ? [range] : [])),
    [undefined, 'bytes=1000-', 'bytes=3000-'],
  );
  const before = server.asked.length;
  await obtain(uri, env);
  equal(server.asked.length, before);
});

test('web: what a killed process left is gone on with if the file is still the same, else fetched anew', async (t) => {
  for (const [etag, left, ranges] of [
    ['"tag"', (await readFile(join(SHARDED, SHARD))).subarray(0, 500), ['bytes=500-']],
    ['"another"', Buffer.alloc(500), [undefined]],
    // Only the answer tells.
    ['W/"weak"', Buffer.alloc(500), ['bytes=500-']],
  ] as const) {
    const PARLEY_CACHE = await temporaryFolder(t);
    const { server, uri } = await serve(t, SHARDED, undefined, etag);
    const env = { PARLEY_CACHE, PARLEY_MODEL_SHA256: await checkpointDigest(SHARDED) };
    const { folder } = await obtain(uri, env);
    await rm(folder, { recursive: true });
    const partial = `${folder}.${sha256(`${uri}/`).slice(0, 8)}.partial`;
    await mkdir(partial);
    await writeFile(partialPath(join(partial, SHARD)), left);
    await writeFile(`${partialPath(join(partial, SHARD))}.etag`, '"tag"');
    const before = server.askedFor(SHARD).length;
    await obtain(uri, env);
    deepEqual(
      server
        .askedFor(SHARD)
        .slice(before)
        .flatMap(({ range, method }) => (method === 'GET' ? [range] : [])),
      ranges,
      etag,
    );
    equal(await checkpointDigest(folder), env.PARLEY_MODEL_SHA256);
  }
});

test('web: what a server lacks, forbids or makes too large is named, with the remedy', async (t) => {
  const PARLEY_CACHE = await temporaryFolder(t);
  const env = { PARLEY_CACHE, PARLEY_MODEL_SHA256: await checkpointDigest(SHARDED) };
  const refused = async (uri: string, reason: string, message: RegExp, more: Record<string, string> = {}) =>
    rejects(obtain(uri, { ...env, ...more }), { reason, message });
  const empty = await serve(t, PARLEY_CACHE);
  await refused(empty.uri, 'CHECKPOINT_INVALID', /models\/x\/ has no config\.json/);
  const closed = await serve(t, SHARDED, ({ authorization }) =>
    authorization === 'Bearer secret' ? undefined : { kind: 'status', status: 401 },
  );
  await refused(closed.uri, 'PERMISSION_DENIED', /status 401: it takes a token \(PARLEY_MODEL_TOKEN_FILE\)/);
  const { uri } = await serve(t, SHARDED);
  await refused(uri, 'MESSAGE_TOO_LARGE', /raise PARLEY_MODEL_MAX_BYTES/, {
    PARLEY_MODEL_MAX_BYTES: '90000',
  });
  await refused(uri, 'CONFIG_INVALID', /can be changed on its way/, { PARLEY_MODEL_SHA256: '' });
  await refused(uri, 'DIGEST_MISMATCH', /but PARLEY_MODEL_SHA256 is 0000/, {
    PARLEY_MODEL_SHA256: '0'.repeat(64),
  });
  const crafted = join(PARLEY_CACHE, 'crafted');
  await cp(SHARDED, crafted, { recursive: true });
  await writeFile(
    join(crafted, 'model.safetensors.index.json'),
    '{"weight_map":{"a":"../../etc/x.safetensors"}}',
  );
  await refused((await serve(t, crafted)).uri, 'CHECKPOINT_INVALID', /names the file "\.\.\/\.\.\/etc/);
  await rm(crafted, { recursive: true });
  deepEqual(await readdir(join(PARLEY_CACHE, 'models')), []);

  const token = join(PARLEY_CACHE, 'token');
  await writeFile(token, 'secret\n');
  const { folder } = await obtain(closed.uri, { ...env, PARLEY_MODEL_TOKEN_FILE: token });
  equal(await checkpointDigest(folder), env.PARLEY_MODEL_SHA256);
});

test('a folder is used where it is, and copied where it is wanted elsewhere', async (t) => {
  const source = join(await temporaryFolder(t), 'source');
  await cp(SHARDED, source, { recursive: true });
  await writeFile(join(source, 'modeling.py'), 'import os');
  equal((await obtain(source, {})).folder, source);
  equal((await obtain(pathToFileURL(source).href, {})).folder, source);
  const target = join(source, '..', 'model');
  const observer = createRecorder();
  await copyModel(parseModelUri(source), target, readConfig({}, MODEL_FIELDS), { observer, patience: HASTE });
  equal(await checkpointDigest(target), await checkpointDigest(source));
  ok(!(await readdir(target)).includes('modeling.py'));
  await rejects(
    copyModel(parseModelUri('/nowhere'), `${target}-2`, readConfig({}, MODEL_FIELDS), { observer }),
    {
      reason: 'CHECKPOINT_INVALID',
      message: /\/nowhere cannot be read/,
    },
  );
});

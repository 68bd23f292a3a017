import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createSilentLog, readConfig, sha256 } from '@parley/runtime';
import { checkpointDigest } from '../checkpoint-digest.js';
import { modelFolder, temporaryFolder } from '../peer-test-support.js';
import { FETCH_FIELDS } from './fetch-config.js';
import { fetchModel } from './fetch-model.js';

const SHARDED = modelFolder('llama').replace(/llama$/, 'llama-sharded');

interface Asked {
  file: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** A file server with ranges, like a hub's. `fault` may take over an answer. */
async function serve(
  t: TestContext,
  folder: string,
  fault: (asked: Asked, times: number, response: ServerResponse, content: Buffer) => boolean = () => false,
) {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const answer = async () => {
      const file = decodeURIComponent(request.url ?? '').replace('/models/x/', '');
      const { range, authorization } = request.headers;
      const call = { file, range, authorization };
      asked.push(call);
      const content = await readFile(join(folder, file)).catch(() => undefined);
      if (content === undefined) return response.writeHead(404).end();
      if (fault(call, asked.filter((other) => other.file === file).length, response, content))
        return undefined;
      const from = Number(/bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
      const status = range !== undefined && request.headers['if-range'] === '"tag"' ? 206 : 200;
      const body = status === 206 ? content.subarray(from) : content;
      return response.writeHead(status, { etag: '"tag"', 'content-length': body.length }).end(body);
    };
    void answer();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  return { asked, uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/x` };
}

async function fetchTo(target: string, env: Record<string, string>): Promise<void> {
  const config = readConfig({ PARLEY_MODEL: target, PARLEY_MODEL_DEADLINE: '20s', ...env }, FETCH_FIELDS);
  await fetchModel(config, createSilentLog());
}

/** What an interrupted fetch leaves. */
async function partialOf(target: string, uri: string): Promise<string> {
  const folder = `${target}.${sha256(uri).slice(0, 8)}.partial`;
  await mkdir(folder);
  return folder;
}

test('a folder of a server arrives whole, shards and all, and is not fetched twice', async (t) => {
  const target = join(await temporaryFolder(t), 'model');
  const { asked, uri } = await serve(t, SHARDED);
  const PARLEY_MODEL_SHA256 = await checkpointDigest(SHARDED);
  await fetchTo(target, { PARLEY_MODEL_URI: uri, PARLEY_MODEL_SHA256 });
  equal(await checkpointDigest(target), PARLEY_MODEL_SHA256);
  ok((await readdir(target)).includes('model-00004-of-00004.safetensors'));
  ok(asked.every(({ authorization }) => authorization === undefined));
  const before = asked.length;
  await fetchTo(target, { PARLEY_MODEL_URI: uri, PARLEY_MODEL_SHA256 });
  equal(asked.length, before);
});

test('a broken connection is gone on with where it broke, also by the next process', async (t) => {
  const folder = await temporaryFolder(t);
  const target = join(folder, 'model');
  const source = modelFolder('llama');
  const broken = await serve(t, source, ({ file }, times, response, content) => {
    if (file !== 'model.safetensors' || times > 2) return false;
    const [from, to] = times === 1 ? [0, 1000] : [1000, 3000];
    response.writeHead(times === 1 ? 200 : 206, { etag: '"tag"', 'content-length': content.length - from });
    response.write(content.subarray(from, to));
    setTimeout(() => response.destroy(), 200);
    return true;
  });
  const PARLEY_MODEL_SHA256 = await checkpointDigest(source);
  await fetchTo(target, { PARLEY_MODEL_URI: broken.uri, PARLEY_MODEL_SHA256 });
  equal(await checkpointDigest(target), PARLEY_MODEL_SHA256);
  const ranges = broken.asked.filter(({ file }) => file === 'model.safetensors').map(({ range }) => range);
  deepEqual(ranges, [undefined, 'bytes=1000-', 'bytes=3000-']);

  await rm(target, { recursive: true });
  const whole = await serve(t, source);
  const partial = await partialOf(target, whole.uri);
  await writeFile(
    join(partial, 'model.safetensors.part'),
    (await readFile(join(source, 'model.safetensors'))).subarray(0, 500),
  );
  await writeFile(join(partial, 'model.safetensors.etag'), '"tag"');
  await fetchTo(target, { PARLEY_MODEL_URI: whole.uri, PARLEY_MODEL_SHA256 });
  deepEqual(
    whole.asked.filter(({ file }) => file === 'model.safetensors').map(({ range }) => range),
    ['bytes=500-'],
  );
});

test('a file that changed meanwhile is fetched from its beginning', async (t) => {
  const target = join(await temporaryFolder(t), 'model');
  const source = modelFolder('llama');
  const { uri } = await serve(t, source);
  const partial = await partialOf(target, uri);
  await writeFile(join(partial, 'model.safetensors.part'), 'of an older version');
  await writeFile(join(partial, 'model.safetensors.etag'), '"old"');
  const PARLEY_MODEL_SHA256 = await checkpointDigest(source);
  await fetchTo(target, { PARLEY_MODEL_URI: uri, PARLEY_MODEL_SHA256 });
  equal(await checkpointDigest(target), PARLEY_MODEL_SHA256);
});

test('another model than was asked for is refused by both digests, and nothing is left', async (t) => {
  const folder = await temporaryFolder(t);
  const { uri } = await serve(t, modelFolder('llama'));
  const env = { PARLEY_MODEL_URI: uri, PARLEY_MODEL_SHA256: '0'.repeat(64) };
  await rejects(fetchTo(join(folder, 'model'), env), {
    reason: 'DIGEST_MISMATCH',
    message: /but PARLEY_MODEL_SHA256 is 0000/,
  });
  deepEqual(await readdir(folder), []);
  await cp(modelFolder('llama'), join(folder, 'model'), { recursive: true });
  await rejects(fetchTo(join(folder, 'model'), env), { reason: 'DIGEST_MISMATCH' });
});

test('what a server lacks, forbids or makes too large is named, with the remedy', async (t) => {
  const folder = await temporaryFolder(t);
  const PARLEY_MODEL_SHA256 = await checkpointDigest(SHARDED);
  const refused = async (env: Record<string, string>, reason: string, message: RegExp) =>
    rejects(fetchTo(join(folder, 'model'), { PARLEY_MODEL_SHA256, ...env }), { reason, message });

  const empty = await serve(t, folder);
  await refused({ PARLEY_MODEL_URI: empty.uri }, 'CHECKPOINT_INVALID', /config\.json is missing/);
  const closed = await serve(t, SHARDED, ({ authorization }, _, response) => {
    if (authorization === 'Bearer secret') return false;
    response.writeHead(401).end();
    return true;
  });
  await refused(
    { PARLEY_MODEL_URI: closed.uri },
    'PERMISSION_DENIED',
    /status 401: it takes a token \(PARLEY_MODEL_TOKEN_FILE\)/,
  );
  const { uri } = await serve(t, SHARDED);
  await refused(
    { PARLEY_MODEL_URI: uri, PARLEY_MODEL_MAX_BYTES: '90000' },
    'MESSAGE_TOO_LARGE',
    /raise PARLEY_MODEL_MAX_BYTES/,
  );
  const evil = await serve(t, SHARDED, ({ file }, _, response) => {
    if (file !== 'model.safetensors.index.json') return false;
    response.end(JSON.stringify({ weight_map: { a: '../../etc/x.safetensors' } }));
    return true;
  });
  await refused({ PARLEY_MODEL_URI: evil.uri }, 'CHECKPOINT_INVALID', /names the file "\.\.\/\.\.\/etc/);
  await rejects(fetchTo(join(folder, 'model'), { PARLEY_MODEL_URI: uri }), {
    reason: 'CONFIG_INVALID',
    message: /can be changed on its way/,
  });
  const token = join(folder, 'token');
  await writeFile(token, 'secret\n');
  await fetchTo(join(folder, 'model'), {
    PARLEY_MODEL_URI: closed.uri,
    PARLEY_MODEL_SHA256,
    PARLEY_MODEL_TOKEN_FILE: token,
  });
  equal(await checkpointDigest(join(folder, 'model')), PARLEY_MODEL_SHA256);
});

test('a server that is away is waited for until the deadline, and named then', async (t) => {
  const target = join(await temporaryFolder(t), 'model');
  const env = { PARLEY_MODEL_URI: 'https://127.0.0.1:9/x', PARLEY_MODEL_DEADLINE: '1200ms' };
  await rejects(fetchTo(target, env), (error: Error) => {
    match(error.message, /Not done within 1200 ms: bringing https:\/\/127\.0\.0\.1:9\/x to /);
    return true;
  });
});

test('a folder on a volume is copied: what decides on the model, and nothing else', async (t) => {
  const folder = await temporaryFolder(t);
  const [source, target] = [join(folder, 'source'), join(folder, 'model')];
  await cp(modelFolder('llama'), source, { recursive: true });
  await writeFile(join(source, 'modeling.py'), 'import os');
  await fetchTo(target, { PARLEY_MODEL_URI: pathToFileURL(source).href });
  equal(await checkpointDigest(target), await checkpointDigest(source));
  ok(!(await readdir(target)).includes('modeling.py'));
  await rejects(fetchTo(join(folder, 'other'), { PARLEY_MODEL_URI: 'file:///nowhere' }), {
    reason: 'CHECKPOINT_INVALID',
    message: /\/nowhere is missing/,
  });
});

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sha256 } from '@parley/runtime';
import { anyBlobs, fileBlobs, natsBlobs } from './blobs.js';
import type { BlobStore } from './blobs.js';
import { setup } from './test-support.js';

const content = new Uint8Array(400_000).map((_, i) => (i * 17) % 253);

async function tempFolder() {
  const path = await mkdtemp(join(tmpdir(), 'parley-blobs-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

async function checkContract(store: BlobStore): Promise<void> {
  const ref = await store.put('ant/v1.safetensors', content);
  assert.deepEqual(ref, {
    uri: `${store.uriPrefix}ant/v1.safetensors`,
    digest: sha256(content),
    bytes: content.length,
  });
  assert.deepEqual(new Uint8Array(await store.get(ref.uri, ref.digest)), content);
  assert.deepEqual(await store.put('ant/v1.safetensors', content), ref);
  await assert.rejects(store.get(ref.uri, ref.digest, content.length - 1), { reason: 'MESSAGE_TOO_LARGE' });
  assert.equal((await store.get(ref.uri, ref.digest, content.length)).length, content.length);
  const wrong = sha256('other');
  await assert.rejects(store.get(ref.uri, wrong), {
    reason: 'DIGEST_MISMATCH',
    message: new RegExp(`v1.safetensors has SHA-256 ${ref.digest}, but ${wrong} is expected`),
  });
  await assert.rejects(store.get(`${store.uriPrefix}none`, wrong), {
    reason: 'BLOB_MISSING',
    message: new RegExp(`No blob lies at ${store.uriPrefix}none`),
  });
  for (const key of ['', '../up', 'a//b', 'sp ace', '/abs']) {
    await assert.rejects(store.put(key, content), { reason: 'NAME_INVALID' });
  }
  const replaced = await store.put('ant/v1.safetensors', Buffer.from('new'));
  assert.equal(Buffer.from(await store.get(replaced.uri, replaced.digest)).toString(), 'new');
}

test('files keep the contract of a blob store, and nothing outside their folder is read', async () => {
  await using folder = await tempFolder();
  const store = fileBlobs(join(folder.path, 'blobs'));
  await checkContract(store);
  const outside = join(folder.path, 'secret');
  await writeFile(outside, 'secret');
  const uri = `${store.uriPrefix}../secret`;
  assert.equal(fileURLToPath(uri), outside);
  await assert.rejects(store.get(uri, sha256('secret')), {
    reason: 'BLOB_MISSING',
    message: /outside the blob folder/,
  });
});

test('the object store of NATS keeps the contract, and content is stored once', async () => {
  await using s = await setup();
  await checkContract(natsBlobs(s.bus));
  await s.blobs.put('twice', content);
  const { state: before } = await s.bus.jsm.streams.info('OBJ_parley-blobs');
  await s.blobs.put('twice', content);
  const { state: after } = await s.bus.jsm.streams.info('OBJ_parley-blobs');
  assert.equal(after.last_seq, before.last_seq);
});

test('a blob is read by whoever knows its URI, and an unknown one is named', async () => {
  await using s = await setup();
  await using folder = await tempFolder();
  const files = fileBlobs(folder.path);
  const both = anyBlobs(s.blobs, files);
  const ref = await files.put('v1', content);
  assert.equal((await both.get(ref.uri, ref.digest)).length, content.length);
  assert.match((await both.put('v2', content)).uri, /^nats-object:/);
  await assert.rejects(both.get('s3://bucket/x', ref.digest), {
    reason: 'BLOB_MISSING',
    message: /reads s3:\/\/bucket\/x; they read nats-object/,
  });
});

test('storing and reading wait for a server that restarts', async () => {
  await using s = await setup();
  await s.server.kill();
  const putting = s.blobs.put('v1', content);
  await s.server.restart();
  const ref = await putting;
  await s.server.restart();
  assert.equal((await s.blobs.get(ref.uri, ref.digest)).length, content.length);
});

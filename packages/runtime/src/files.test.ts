import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { sha256, sha256File, verifyDigest, writeFileAtomic } from './index.js';

async function tempFolder() {
  const path = await mkdtemp(join(tmpdir(), 'parley-files-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test('a file is replaced whole and no temporary file stays', async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, 'deep', 'state.bin');
  await writeFileAtomic(path, 'first');
  await writeFileAtomic(path, new Uint8Array([1, 2, 3]));
  assert.deepEqual([...(await readFile(path))], [1, 2, 3]);
  assert.deepEqual(await readdir(join(folder.path, 'deep')), ['state.bin']);
});

test('a full disk names the path and the bytes, and leaves the earlier file intact', async () => {
  await using folder = await tempFolder();
  const path = join(folder.path, 'state.bin');
  await writeFile(path, 'earlier');
  const write = writeFileAtomic(path, 'x'.repeat(5000), { openFile: () => open('/dev/full', 'w') });
  await assert.rejects(write, {
    reason: 'DISK_FULL',
    code: 'RESOURCE_EXHAUSTED',
    message: new RegExp(`${path}: 5000 bytes are needed; free space`),
  });
  assert.equal(await readFile(path, 'utf8'), 'earlier');
  assert.deepEqual(await readdir(folder.path), ['state.bin']);
});

test('a digest is SHA-256 in lower-case hexadecimal, of bytes and of files', async () => {
  await using folder = await tempFolder();
  const known = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  assert.equal(sha256('abc'), known);
  const path = join(folder.path, 'abc');
  await writeFile(path, 'abc');
  assert.equal(await sha256File(path), known);
});

test('content with another digest is refused, with both digests and the thing named', () => {
  assert.doesNotThrow(() => verifyDigest(Buffer.from('abc'), sha256('abc'), 'adapter v1'));
  assert.throws(() => verifyDigest(Buffer.from('abd'), sha256('abc'), 'adapter v1'), {
    reason: 'DIGEST_MISMATCH',
    message: new RegExp(`adapter v1 has SHA-256 ${sha256('abd')}, but ${sha256('abc')} is expected`),
  });
});

import { deepEqual, equal, rejects } from 'node:assert/strict';
import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { withLockFile } from './lock-file.js';
import { temporaryFolder } from './testing/index.js';

test('one at a time has the lock; the others are told once, and wait', async (t) => {
  const path = join(await temporaryFolder(t), 'deep', 'lock');
  const { signal } = new AbortController();
  let [inside, most, waits] = [0, 0, 0];
  const work = async () => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 50));
    inside--;
  };
  const onWait = () => void waits++;
  await Promise.all([1, 2, 3].map(async () => withLockFile(path, { signal, onWait }, work)));
  deepEqual([most, waits], [1, 2]);
});

test('the lock of a process that is gone is taken over, that of one that lives is not', async (t) => {
  const path = join(await temporaryFolder(t), 'lock');
  await writeFile(path, 'gone');
  await utimes(path, new Date(0), new Date(0));
  const { signal } = new AbortController();
  const onWait = () => undefined;
  equal(await withLockFile(path, { signal, onWait }, async () => 'mine'), 'mine');
  await withLockFile(path, { signal, onWait, staleMs: 120 }, async () => {
    // Longer than it takes to be stale: the holder touches it meanwhile.
    await rejects(
      withLockFile(path, { signal: AbortSignal.timeout(1000), onWait, staleMs: 120 }, async () => undefined),
      { name: 'TimeoutError' },
    );
  });
});

import { deepEqual, equal, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { streamOf } from './stream-of.js';

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

test('everything emitted arrives in order, whether before or after the reader waits', async () => {
  const stream = streamOf<number>(async (emit) => {
    emit(1);
    emit(2);
    await new Promise(setImmediate);
    emit(3);
    await new Promise(setImmediate);
    emit(4);
  });
  deepEqual(await collect(stream), [1, 2, 3, 4]);
});

test('a failure comes after what was emitted before it', async () => {
  const seen: number[] = [];
  const stream = streamOf<number>(async (emit) => {
    emit(1);
    await new Promise(setImmediate);
    emit(2);
    throw new Error('broke');
  });
  await rejects(async () => {
    for await (const item of stream) seen.push(item);
  }, /broke/);
  deepEqual(seen, [1, 2]);
});

test('a reader that leaves early is not followed by an unhandled failure', async () => {
  let failed = false;
  for await (const item of streamOf<number>(async (emit) => {
    emit(1);
    await new Promise(setImmediate);
    failed = true;
    throw new Error('nobody reads this');
  })) {
    equal(item, 1);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 10));
  equal(failed, true);
});

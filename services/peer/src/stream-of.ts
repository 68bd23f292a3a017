import { deferred } from '@parley/runtime';

/**
 * What a producer emits, as an async iterable: in order, none lost, ending when the producer's promise does and throwing
 * what it throws. Items wait in memory for a slow reader. The producer starts with the first read.
 */
export async function* streamOf<T>(produce: (emit: (item: T) => void) => Promise<void>): AsyncGenerator<T> {
  const waiting: T[] = [];
  let wake = deferred<void>();
  let ended = false;
  const producing = produce((item) => {
    waiting.push(item);
    wake.resolve();
  }).finally(() => {
    ended = true;
    wake.resolve();
  });
  // Awaited below; a reader that leaves early must not turn its failure into an unhandled one.
  producing.catch(() => undefined);
  while (true) {
    while (waiting.length > 0) yield waiting.shift() as T;
    if (ended) break;
    await wake.promise;
    wake = deferred();
  }
  await producing;
}

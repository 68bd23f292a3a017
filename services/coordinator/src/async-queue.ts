import { createChanges } from './changes.js';

/** What one side pushes, the other takes in the same order. */
export interface AsyncQueue<T> {
  push(value: T): void;
  /** The next value, waiting for it. @throws the signal's reason */
  take(signal: AbortSignal): Promise<T>;
  /** All that is there, without waiting. */
  rest(): T[];
}

export function createAsyncQueue<T>(): AsyncQueue<T> {
  const values: T[] = [];
  const changes = createChanges();
  return {
    push(value) {
      values.push(value);
      changes.notify();
    },
    async take(signal) {
      await changes.until(() => values.length > 0, signal);
      return values.shift()!;
    },
    rest: () => values.splice(0),
  };
}

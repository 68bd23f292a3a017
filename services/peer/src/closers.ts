/** Things to close, in reverse order of opening. */
export interface Closers {
  /** Remembers something opened, and returns it. */
  add<T extends AsyncDisposable>(opened: T): T;
  /** Closes everything, once. @throws the first failure, after the rest has been closed */
  readonly close: () => Promise<void>;
}

/** `AsyncDisposableStack` (ECMAScript explicit resource management) for the oldest Node we support. */
export function createClosers(): Closers {
  const opened: AsyncDisposable[] = [];
  let closing: Promise<void> | undefined;
  const closeAll = async () => {
    const failures: unknown[] = [];
    for (const item of opened.reverse()) {
      await Promise.resolve(item[Symbol.asyncDispose]()).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  };
  return {
    add(item) {
      opened.push(item);
      return item;
    },
    close: () => (closing ??= closeAll()),
  };
}

/** Releases what was acquired, last first: `AsyncDisposableStack` (ES2026) for the oldest Node we support. */
export interface CleanupStack {
  /** Releases a resource with the others. @returns the resource */
  use<T extends AsyncDisposable | Disposable>(resource: T): T;
  defer(release: () => void | Promise<void>): void;
  /** Releases everything once; the first failure is thrown after all have been tried. */
  close(): Promise<void>;
}

export function createCleanupStack(): CleanupStack {
  const releases: (() => void | PromiseLike<void>)[] = [];
  const close = async (): Promise<void> => {
    let failure: { error: unknown } | undefined;
    for (let release = releases.pop(); release !== undefined; release = releases.pop()) {
      try {
        await release();
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
  };
  return {
    use(resource) {
      releases.push(() =>
        Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose](),
      );
      return resource;
    },
    defer: (release) => void releases.push(release),
    close,
  };
}

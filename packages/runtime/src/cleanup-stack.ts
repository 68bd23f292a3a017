/** Releases what was acquired, last first: `AsyncDisposableStack` (ES2026) for the oldest Node we support. */
export interface CleanupStack extends AsyncDisposable {
  /** Releases a resource with the others. @returns the resource */
  use<T extends AsyncDisposable | Disposable>(resource: T): T;
  defer(release: () => void | Promise<void>): void;
  /** Releases everything, once; whoever calls again waits for the same. The first failure is thrown after all were tried. */
  readonly close: () => Promise<void>;
}

export function createCleanupStack(): CleanupStack {
  const releases: (() => void | PromiseLike<void>)[] = [];
  let closing: Promise<void> | undefined;
  const releaseAll = async (): Promise<void> => {
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
  const defer = (release: () => void | PromiseLike<void>): void => {
    if (closing)
      throw new Error('The cleanup stack is closed already; what is acquired now would never be released');
    releases.push(release);
  };
  const close = (): Promise<void> => (closing ??= releaseAll());
  return {
    use(resource) {
      defer(() =>
        Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose](),
      );
      return resource;
    },
    defer,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Wakes whoever waits for something to change. */
export interface Changes {
  /** Something changed. */
  notify(): void;
  /** Resolves once `holds` is true; asked now and after every change. @throws the signal's reason */
  until(holds: () => boolean, signal: AbortSignal): Promise<void>;
}

export function createChanges(): Changes {
  const waiting = new Set<() => void>();
  return {
    notify() {
      for (const check of [...waiting]) check();
    },
    async until(holds, signal) {
      signal.throwIfAborted();
      if (holds()) return;
      await new Promise<void>((resolve, reject) => {
        const finish = (then: () => void) => {
          waiting.delete(check);
          signal.removeEventListener('abort', abort);
          then();
        };
        const check = () => {
          if (holds()) finish(resolve);
        };
        const abort = () => finish(() => reject(signal.reason as Error));
        waiting.add(check);
        signal.addEventListener('abort', abort, { once: true });
      });
    },
  };
}

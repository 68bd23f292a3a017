import { deferred } from '@parley/runtime';

/** Resolves when this process's own parent is gone, as when the shell or the script that started it was killed. */
export function parentGone(
  signal: AbortSignal,
  pollMs = 500,
  ppid: () => number = () => process.ppid,
): Promise<void> {
  const { promise, resolve } = deferred<void>();
  const parent = ppid();
  const timer = setInterval(() => {
    if (ppid() !== parent) resolve();
  }, pollMs);
  timer.unref();
  const stop = () => clearInterval(timer);
  signal.addEventListener('abort', stop, { once: true });
  void promise.then(stop);
  return promise;
}

import { sleep } from '@parley/runtime';

/** Waits until a condition holds, asking every `pollMs`. @throws Error naming `what` after `deadlineMs` */
export async function until(
  what: string,
  condition: () => Promise<boolean>,
  { deadlineMs = 30_000, pollMs = 20 } = {},
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await sleep(pollMs);
  }
}

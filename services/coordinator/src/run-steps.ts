import type { Step } from './plan-round.js';

/** What a peer did while a plan ran. */
export interface PeerLoad {
  /** Seconds in which a call of this peer was under way. */
  busySeconds: number;
  /** Calls made. */
  calls: number;
}

/**
 * Runs a plan: one call at a time for each peer, all peers at once, a step as soon as what it needs is over and its
 * peer is free. Among several, the first of the plan.
 *
 * @param execute - does one step; the first rejection stops the plan, and is thrown after the calls under way are over
 * @param nowMs - a monotonic clock
 * @returns what each peer did
 */
export async function runSteps(
  steps: readonly Step[],
  peers: number,
  execute: (step: Step) => Promise<void>,
  nowMs: () => number,
): Promise<PeerLoad[]> {
  const loads = Array.from({ length: peers }, (): PeerLoad => ({ busySeconds: 0, calls: 0 }));
  const waiting = loads.map((_, peer) => steps.filter((step) => step.peer === peer));
  const running = new Map<number, Promise<void>>();
  const over = new Set<number>();
  let failure: { error: unknown } | undefined;

  const run = async (step: Step): Promise<void> => {
    const startMs = nowMs();
    try {
      await execute(step);
      over.add(step.id);
    } catch (error) {
      failure ??= { error };
    }
    const load = loads[step.peer];
    load.busySeconds += (nowMs() - startMs) / 1000;
    load.calls++;
    running.delete(step.peer);
  };
  const startWhatCan = (): void => {
    waiting.forEach((queue, peer) => {
      if (running.has(peer)) return;
      const next = queue.findIndex((step) => step.after.every((id) => over.has(id)));
      const [step] = next < 0 ? [] : queue.splice(next, 1);
      if (step) running.set(peer, run(step));
    });
  };
  while (!failure) {
    startWhatCan();
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  await Promise.all(running.values());
  if (failure) throw failure.error;
  return loads;
}

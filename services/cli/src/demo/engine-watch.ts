import { pause } from '@parley/runtime';
import type { AskedPeer } from '../measure/ask-peer.js';

/** One stretch of a demo. */
export interface PhaseTiming {
  name: string;
  seconds: number;
  /** Time in which no engine of any peer was at work: what the mesh costs on the critical path. */
  engineIdleSeconds: number;
  /** Share of the time in which a peer's engine was at work, by peer. */
  busyShare: Record<string, number>;
}

/** Times phases and, by asking the peers ten times a second what they do, how much of them is the engines' work. */
export interface EngineWatch extends AsyncDisposable {
  /** Begins a phase and ends the one before. */
  enter(name: string): void;
  /** From now on these peers are asked. Until then engines count as idle. */
  watch(peers: readonly AskedPeer[]): void;
  /** Ends the last phase. @returns all of them */
  finish(): PhaseTiming[];
}

interface OpenPhase {
  name: string;
  startMs: number;
  samples: number;
  idleSamples: number;
  busySamples: Map<string, number>;
}

const SAMPLE_MS = 100;
const SAMPLE_DEADLINE_MS = 1000;

export function createEngineWatch(nowMs: () => number = () => performance.now()): EngineWatch {
  const stop = new AbortController();
  const phases: PhaseTiming[] = [];
  let open: OpenPhase | undefined;
  let sampling: Promise<void> = Promise.resolve();

  const close = () => {
    if (!open) return;
    const { name, startMs, samples, idleSamples, busySamples } = open;
    const seconds = (nowMs() - startMs) / 1000;
    const share = (part: number) => (samples === 0 ? 0 : part / samples);
    phases.push({
      name,
      seconds,
      engineIdleSeconds: samples === 0 ? seconds : seconds * share(idleSamples),
      busyShare: Object.fromEntries([...busySamples].map(([peer, busy]) => [peer, share(busy)])),
    });
    open = undefined;
  };

  const sample = async (peers: readonly AskedPeer[]): Promise<void> => {
    const phase = open;
    const busy = await Promise.all(peers.map((peer) => isBusy(peer, stop.signal)));
    if (!phase || phase !== open) return;
    phase.samples++;
    if (!busy.includes(true)) phase.idleSamples++;
    peers.forEach(({ name }, index) => {
      phase.busySamples.set(name, (phase.busySamples.get(name) ?? 0) + Number(busy[index]));
    });
  };

  const run = async (peers: readonly AskedPeer[]): Promise<void> => {
    while (!stop.signal.aborted) {
      await sample(peers);
      await pause(SAMPLE_MS, stop.signal);
    }
  };

  return {
    enter(name) {
      close();
      open = { name, startMs: nowMs(), samples: 0, idleSamples: 0, busySamples: new Map() };
    },
    watch(peers) {
      sampling = run(peers);
    },
    finish() {
      close();
      return phases;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await sampling;
    },
  };
}

/** Whether a peer's engine is at work. One that does not say counts as idle: the mesh is to blame, not the engine. */
async function isBusy({ client }: AskedPeer, signal: AbortSignal): Promise<boolean> {
  try {
    const { activity } = await client.describe({}, { signal, deadlineMs: SAMPLE_DEADLINE_MS });
    return activity !== 'idle';
  } catch {
    return false;
  }
}

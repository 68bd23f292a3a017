import { SECONDS_BUCKETS, counter, createMetrics, gauge, histogram, onCollect } from '@parley/runtime';
import type { Log, Metrics, Registry } from '@parley/runtime';
import { RunState } from '@parley/contracts';
import type { GuardVerdict, Run } from '@parley/contracts';
import type { PeerDirectory, PeerPool } from '@parley/mesh';
import type { GeneratedRound } from './generate-round.js';
import { SHARES } from './monitor-readings.js';
import { unanimity } from './peer-signals.js';
import type { Monitored } from './run-monitor.js';
import { hasEnded } from './run-state.js';

/** What is measured of the coordinator. Every replica tells the same of runs; of rounds, each tells those it made. */
export const COORDINATOR_METRICS = {
  runs: gauge('parley_coordinator_runs', 'Runs by state, over all replicas', ['state']),
  wanted: gauge('parley_coordinator_peer_wanted', 'Active runs that a peer learns in, over all replicas', [
    'peer',
  ]),
  available: gauge(
    'parley_coordinator_peer_available',
    '1 if a peer that an active run needs answers, else 0',
    ['peer'],
  ),
  waiting: gauge(
    'parley_coordinator_prompts_waiting',
    'Questions of the runs that this replica drives that are in no round yet',
  ),
  round: histogram(
    'parley_coordinator_round_seconds',
    'Time to ask the peers a round and aggregate their answers',
    {
      buckets: SECONDS_BUCKETS,
    },
  ),
  items: counter(
    'parley_coordinator_items_total',
    'Questions of rounds by what became of them: accepted, or why they are not trained on',
    ['outcome'],
  ),
  agreement: gauge(
    'parley_coordinator_agreement_ratio',
    'Share of the questions of the last round on which all peers that answered agreed',
  ),
  busy: gauge(
    'parley_coordinator_peer_busy_ratio',
    'Share of the last round in which a call of the peer was under way',
    ['peer'],
  ),
  monitorShare: gauge(
    'parley_coordinator_monitor_ratio',
    'Share of the monitor questions on which the peer, when last asked, agreed with the vote at the start, agreed with another peer, said the same in a sample, or gave an answer',
    ['peer', 'signal'],
  ),
  monitorEntropy: gauge(
    'parley_coordinator_monitor_entropy_nats',
    'Mean entropy of the answers to the monitor questions, a token',
    ['peer'],
  ),
  monitorTokens: gauge(
    'parley_coordinator_monitor_answer_tokens',
    'Mean length of the answers to the monitor questions',
    ['peer'],
  ),
  monitorVersion: gauge(
    'parley_coordinator_monitor_version',
    'Version of the peer that was asked the monitor questions last',
    ['peer'],
  ),
  verdicts: counter('parley_coordinator_guard_verdicts_total', 'Verdicts of guards', ['guard', 'action']),
  denied: counter(
    'parley_coordinator_calls_denied_total',
    'Calls that were refused before anything was done',
    ['reason'],
  ),
} as const;

/** Measures what a coordinator does. */
export interface CoordinatorMetrics {
  /** A round was made. */
  round(made: GeneratedRound): void;
  /** A peer was asked the monitor questions. */
  monitored(reading: Monitored): void;
  readonly verdict: (verdict: GuardVerdict) => void;
  readonly denied: (reason: string) => void;
  /** A run is as given now. */
  run(run: Run): void;
  /** A source of questions that wait, until the returned function is called. */
  addQueue(length: () => number): () => void;
}

/** What the metrics are read from. */
export interface CoordinatorMetricsParts {
  registry: Registry;
  directory: PeerDirectory;
  pool: PeerPool;
  log: Log;
}

export function createCoordinatorMetrics(parts: CoordinatorMetricsParts): CoordinatorMetrics {
  const { registry, directory, pool, log } = parts;
  const metrics: Metrics<typeof COORDINATOR_METRICS> = createMetrics(COORDINATOR_METRICS, registry);
  const states = new Map<string, RunState>();
  const active = new Map<string, readonly string[]>();
  const queues = new Set<() => number>();

  onCollect(metrics.runs, log, (gauge) => {
    const count = (state: RunState) => [...states.values()].filter((found) => found === state).length;
    for (const state of STATES) gauge.set({ state: RunState[state].toLowerCase() }, count(state));
  });
  onCollect(metrics.wanted, log, (gauge) => {
    const learners = [...active.values()].flat();
    for (const { name } of directory.list())
      gauge.set({ peer: name }, learners.filter((peer) => peer === name).length);
  });
  onCollect(metrics.available, log, (gauge) => {
    gauge.reset();
    // Nobody looks at a peer that no run needs.
    for (const name of new Set([...active.values()].flat()))
      gauge.set({ peer: name }, pool.peer(name).health.available ? 1 : 0);
  });
  onCollect(metrics.waiting, log, (gauge) => {
    gauge.set([...queues].reduce((sum, length) => sum + length(), 0));
  });

  return {
    round({ generated, loads }) {
      const seconds = Math.max(generated.seconds, 1e-9);
      metrics.round.observe(generated.seconds);
      metrics.agreement.set(unanimity(generated));
      for (const { aggregate } of generated.items)
        metrics.items.inc({
          outcome: aggregate?.accepted ? 'accepted' : aggregate?.rejection || 'no-answer',
        });
      loads.forEach(({ busySeconds }, peer) => {
        metrics.busy.set({ peer: generated.peers[peer].name }, busySeconds / seconds);
      });
    },
    monitored({ peer, version, signals }) {
      const set = (gauge: { set: (value: number) => void }, value: number | null) => {
        if (value !== null) gauge.set(value);
      };
      for (const [signal, name] of Object.entries(SHARES))
        set(metrics.monitorShare.labels({ peer, signal }), signals[name]);
      set(metrics.monitorEntropy.labels({ peer }), signals.meanEntropy);
      set(metrics.monitorTokens.labels({ peer }), signals.meanTokens);
      metrics.monitorVersion.set({ peer }, Number(version));
    },
    verdict: ({ guard, action }) => metrics.verdicts.inc({ guard, action }),
    denied: (reason) => metrics.denied.inc({ reason }),
    run(run) {
      states.set(run.runId, run.state);
      if (hasEnded(run)) active.delete(run.runId);
      else active.set(run.runId, run.spec?.peers ?? []);
    },
    addQueue(length) {
      queues.add(length);
      return () => void queues.delete(length);
    },
  };
}

const STATES = [RunState.RUNNING, RunState.PAUSED, RunState.COMPLETED, RunState.STOPPED, RunState.FAILED];

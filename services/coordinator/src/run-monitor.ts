import { create } from '@bufbuild/protobuf';
import { ItemFailureSchema } from '@parley/contracts';
import type { GuardVerdict, ItemFailure, MonitorMeasured } from '@parley/contracts';
import { createMonitorHistory, quarantinedBy } from '@parley/mesh';
import type { MonitorHistory, PeerHandle, RunFacts } from '@parley/mesh';
import type { PeerSignals } from '@parley/pst';
import type { Log } from '@parley/runtime';
import type { RoundTools } from './generate-round.js';
import { judgeMonitor } from './judge-monitor.js';
import { measureMonitor } from './measure-monitor.js';
import type { PeerProgressLog } from './peer-progress-log.js';
import type { PromptFeed } from './prompt-feed.js';
import type { RunJournal } from './run-journal.js';
import type { VerdictBook } from './verdict-book.js';

/** What became of one peer in a measurement. */
export interface Monitored {
  peer: string;
  version: bigint;
  signals: PeerSignals;
}

/** The monitor pool of one run at work. */
export interface RunMonitor {
  /**
   * Measures the peers before a round if it is time, judges them, and does as the verdicts say. After a rollback the
   * peer is measured and judged again. Everything is durable step by step: whoever begins again ends alike.
   *
   * @param last - no round comes any more; then it always is time
   * @returns by name, the peers that take no part in the round, and why
   * @throws ParleyError VERSION_MISMATCH if a peer changed meanwhile: begin again; or what a peer refused for good
   */
  before(round: number, last: boolean, signal: AbortSignal): Promise<Map<string, ItemFailure>>;
}

/** What a monitor needs. */
export interface RunMonitorParts {
  runId: string;
  facts: RunFacts;
  /** In the order of the run's list. */
  peers: readonly PeerHandle[];
  journal: RunJournal;
  book: VerdictBook;
  prompts: PromptFeed;
  progress: PeerProgressLog;
  /** Waits until the peers have settled their updates of all rounds before this one. */
  settled: (round: number, signal: AbortSignal) => Promise<void>;
  /** Restores a peer as a verdict orders. */
  takeBack: (verdict: GuardVerdict, version: bigint, signal: AbortSignal) => Promise<void>;
  /** Told of every measurement that this process made, once it is durable. */
  onMeasured: (measured: MonitorMeasured, peers: readonly Monitored[]) => Promise<void>;
  tools: RoundTools;
  log: Log;
}

/** Peers are asked at most twice before a round. */
const LOOKS = [0, 1];

export async function createRunMonitor(parts: RunMonitorParts): Promise<RunMonitor> {
  const { runId, facts, peers, journal, book, prompts, progress, tools, log } = parts;
  const { recipe, seed } = facts;
  const { questions, everyRounds } = recipe.monitor;
  const names = peers.map(({ name }) => name);
  /** Of all measured rounds but the last. */
  const history = createMonitorHistory();
  /** The durable measurements of the round that was measured last, by look. */
  let latest: MonitorMeasured[] = [];
  const enter = (made: MonitorMeasured): void => {
    if (latest.length > 0 && latest[0].round !== made.round) {
      for (const one of latest) history.add(one);
      latest = [];
    }
    latest.push(made);
  };
  if (questions > 0) for await (const one of journal.measurements()) enter(one);

  /** Measures, after the measurements of a history, and tells. */
  const measure = async (
    round: number,
    look: number,
    soFar: MonitorHistory,
    absent: ReadonlyMap<string, ItemFailure>,
    signal: AbortSignal,
  ): Promise<MonitorMeasured> => {
    const pool = (await prompts.pool(signal)).map(({ prompt }) => prompt);
    const versions = peers.map(({ name }) => progress.latest(name)?.version ?? 0n);
    const measuredVersion = (peer: string) => soFar.versionOf(peer);
    const plan = { runId, round, look, peers, recipe, seed, pool, absent, versions, measuredVersion };
    const made = await journal.publishMeasurement(await measureMonitor(plan, tools, signal));
    enter(made);
    const quarantined = new Set(quarantinedBy(book.all).keys());
    const now = soFar.copy();
    now.add(made);
    const asked = made.peers.filter(({ missing }) => missing === undefined);
    await parts.onMeasured(
      made,
      asked.map(({ name, version }) => ({
        peer: name,
        version,
        signals: now.now(name, quarantined),
      })),
    );
    log.info({ round, look, peers: asked.map(({ name }) => name) }, 'monitor pool measured');
    return made;
  };

  return {
    async before(round, last, signal) {
      const place = BigInt(round);
      const absent = leftOut(book.all.filter((verdict) => verdict.round < place));
      if (questions === 0 || !(last || round % everyRounds === 0)) return absent;
      let earlier = book.all.filter((verdict) => verdict.round < place);
      let outside = absent;
      const durable = (look: number) => latest.find((one) => one.round === place && one.look === look);
      const soFar = history.copy();
      if (durable(0) === undefined) for (const one of latest) soFar.add(one);
      for (const look of LOOKS) {
        const made = durable(look) ?? (await measure(round, look, soFar, outside, signal));
        soFar.add(made);
        for (const { name, missing } of made.peers) if (missing) absent.set(name, missing);
        const found = judgeMonitor({ recipe, peers: names, measured: made, history: soFar, earlier, last });
        for (const verdict of found) await book.enter(verdict);
        for (const [name, why] of leftOut(found)) absent.set(name, why);
        earlier = [...earlier, ...found];
        const back = new Map(
          found.flatMap((verdict) =>
            verdict.action === 'rollback-peer' ? [[verdict.peer, verdict] as const] : [],
          ),
        );
        if (back.size === 0) break;
        if (durable(look + 1) === undefined) {
          await parts.settled(round, signal);
          for (const verdict of back.values())
            await parts.takeBack(verdict, soFar.lastGood(verdict.peer, earlier)!, signal);
        }
        // The others said what they have to say.
        outside = new Map(names.flatMap((name) => (back.has(name) ? [] : [[name, NOT_ASKED] as const])));
      }
      return absent;
    },
  };
}

const NOT_ASKED = create(ItemFailureSchema, { reason: 'CANCELLED', message: 'not asked again' });

/** By name, the peers that verdicts leave out, and why. */
export function leftOut(verdicts: readonly GuardVerdict[]): Map<string, ItemFailure> {
  return new Map(
    [...quarantinedBy(verdicts)].map(([name, { round, message }]) => [
      name,
      create(ItemFailureSchema, {
        reason: 'PEER_QUARANTINED',
        message: `left out since round ${round}: ${message}`,
      }),
    ]),
  );
}

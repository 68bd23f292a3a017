import type { GuardVerdict, RoundGenerated } from '@parley/contracts';
import type { PeerHandle } from '@parley/mesh';
import type { Recipe } from '@parley/pst';
import { judgeRound } from './judge-round.js';
import type { RunJournal } from './run-journal.js';
import type { VerdictBook } from './verdict-book.js';

/** The guards of one run that look at its rounds: the gates, and without a monitor pool the collapse guards too. */
export interface RoundGuards {
  /**
   * Publishes the verdicts on a round, before the round itself is published: whoever sees the round sees them. A round
   * that is made again is judged again alike, and nothing is published twice.
   */
  judge(round: RoundGenerated): Promise<void>;
  /** Verdicts on rounds that take peers back, and are not carried out as far as is known. */
  readonly rollbacks: readonly GuardVerdict[];
  /** Restores those peers. Their updates of earlier rounds must have been applied. */
  rollBack(signal: AbortSignal): Promise<void>;
}

/** What guards need. */
export interface RoundGuardsParts {
  recipe: Recipe;
  peers: readonly PeerHandle[];
  journal: RunJournal;
  book: VerdictBook;
  /** Restores a peer as a verdict orders. */
  takeBack: (verdict: GuardVerdict, version: bigint, signal: AbortSignal) => Promise<void>;
}

/** @param lastRound - the last durable round: earlier verdicts have been carried out */
export async function createRoundGuards(
  parts: RoundGuardsParts,
  lastRound: RoundGenerated | undefined,
): Promise<RoundGuards> {
  const { recipe, journal, book, takeBack } = parts;
  const monitored = recipe.monitor.questions > 0;
  const firsts = monitored ? new Map<string, RoundGenerated>() : await firstRounds(parts, lastRound);
  const isRollback = ({ action }: GuardVerdict) => action === 'rollback-peer';
  let rollbacks = monitored
    ? []
    : book.all.filter((verdict) => isRollback(verdict) && verdict.round === lastRound?.round);

  /** The version of a peer in the last round before `round` that it took part in. */
  const versionBefore = async (peer: string, round: bigint): Promise<bigint> => {
    for (let index = Number(round) - 1; index >= 0; index--) {
      const earlier = await journal.round(index);
      const version = earlier?.peers.find(({ name }) => name === peer)?.version;
      if (version !== undefined) return version;
    }
    return 0n;
  };

  return {
    get rollbacks() {
      return rollbacks;
    },
    async judge(round) {
      // Peers without a first round to be compared with are not judged: with a monitor pool, they were before the round.
      if (!monitored) noteFirst(firsts, round);
      const earlier = book.all.filter((verdict) => verdict.round < round.round);
      const found = judgeRound(recipe, firsts, round, earlier);
      for (const verdict of found) await book.enter(verdict);
      rollbacks = [...rollbacks, ...found.filter(isRollback)];
    },
    async rollBack(signal) {
      const byPeer = new Map(rollbacks.map((verdict) => [verdict.peer, verdict]));
      for (const verdict of byPeer.values())
        await takeBack(verdict, await versionBefore(verdict.peer, verdict.round), signal);
      rollbacks = [];
    },
  };
}

/** By name, the first round that each peer took part in: the very first, unless a quorum did without it. */
async function firstRounds(
  { peers, journal }: Pick<RoundGuardsParts, 'peers' | 'journal'>,
  lastRound: RoundGenerated | undefined,
): Promise<Map<string, RoundGenerated>> {
  const firsts = new Map<string, RoundGenerated>();
  const rounds = lastRound === undefined ? 0 : Number(lastRound.round) + 1;
  for (let index = 0; index < rounds && firsts.size < peers.length; index++) {
    const round = await journal.round(index);
    if (round !== undefined) noteFirst(firsts, round);
  }
  return firsts;
}

function noteFirst(firsts: Map<string, RoundGenerated>, round: RoundGenerated): void {
  for (const { name, missing } of round.peers) {
    if (missing === undefined && !firsts.has(name)) firsts.set(name, round);
  }
}

import { RunState } from '@parley/contracts';
import type { GuardVerdict, RoundGenerated } from '@parley/contracts';
import { stoppedBy } from '@parley/mesh';
import type { PeerHandle, RunEvents } from '@parley/mesh';
import type { Recipe } from '@parley/pst';
import { ParleyError, isRetryable } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import { judgeRound } from './judge-round.js';
import type { RunJournal } from './run-journal.js';

/** The collapse guards of one run at work. */
export interface RoundGuards {
  /**
   * Publishes the verdicts on a round, before the round itself is published: whoever sees the round sees them. A round
   * that is made again is judged again alike, and nothing is published twice.
   */
  judge(round: RoundGenerated): Promise<void>;
  /** Rounds whose verdicts take peers back, and are not carried out as far as is known. */
  readonly rollbacks: readonly GuardVerdict[];
  /** Restores those peers. Their updates of earlier rounds must have been applied. */
  rollBack(signal: AbortSignal): Promise<void>;
}

/** What guards need. */
export interface RoundGuardsParts {
  runId: string;
  recipe: Recipe;
  peers: readonly PeerHandle[];
  journal: RunJournal;
  events: RunEvents;
  setState: (state: RunState, reason: string) => Promise<void>;
  /** Told of every new verdict. */
  onVerdict: (verdict: GuardVerdict) => void;
  log: Log;
}

/** @param lastRound - the last durable round: earlier verdicts have been carried out */
export async function createRoundGuards(
  parts: RoundGuardsParts,
  lastRound: RoundGenerated | undefined,
): Promise<RoundGuards> {
  const { runId, recipe, peers, journal, events, setState, onVerdict, log } = parts;
  const firsts = await firstRounds(parts, lastRound);
  const verdicts = await journal.verdicts();
  const idOf = ({ round, peer, guard }: GuardVerdict) => `${round}/${peer}/${guard}`;
  const known = new Set(verdicts.map(idOf));
  let rollbacks = verdicts.filter(
    ({ action, round }) => action === 'rollback-peer' && round === lastRound?.round,
  );

  /** The version of a peer in the last round before `round` that it took part in. */
  const versionBefore = async (peer: string, round: bigint): Promise<bigint> => {
    for (let index = Number(round) - 1; index >= 0; index--) {
      const earlier = await journal.round(index);
      const version = earlier?.peers.find(({ name }) => name === peer)?.version;
      if (version !== undefined) return version;
    }
    return 0n;
  };
  const restore = async (
    { peer, round, guard, message }: GuardVerdict,
    signal: AbortSignal,
  ): Promise<void> => {
    const handle = peers.find(({ name }) => name === peer)!;
    const version = await versionBefore(peer, round);
    const requestId = `${runId}/${round}/${peer}`;
    const source = { case: 'version' as const, value: version };
    await handle.restore({ requestId, source, reason: `guard ${guard}: ${message}` }, signal);
    log.warn({ peer, version: String(version), guard }, 'a guard took the peer back');
  };

  return {
    get rollbacks() {
      return rollbacks;
    },
    async judge(round) {
      noteFirst(firsts, round);
      const stoppedBefore = stoppedBy(verdicts.filter((verdict) => verdict.round < round.round));
      for (const verdict of judgeRound(recipe, firsts, round, stoppedBefore)) {
        if (!known.has(idOf(verdict))) {
          await events.guard(verdict);
          onVerdict(verdict);
          log.warn({ ...verdict, round: String(verdict.round) }, 'a guard fired');
          known.add(idOf(verdict));
          verdicts.push(verdict);
        }
        if (verdict.action === 'pause-run') await setState(RunState.PAUSED, verdict.message);
        if (verdict.action === 'rollback-peer' && !rollbacks.includes(verdict))
          rollbacks = [...rollbacks, verdict];
      }
    },
    async rollBack(signal) {
      const byPeer = new Map(rollbacks.map((verdict) => [verdict.peer, verdict]));
      for (const verdict of byPeer.values()) {
        try {
          await restore(verdict, signal);
        } catch (error) {
          signal.throwIfAborted();
          if (isRetryable(error)) throw error;
          const why = ParleyError.from(error).message;
          log.error({ err: error, peer: verdict.peer }, 'a peer could not be taken back');
          await setState(
            RunState.PAUSED,
            `Peer ${verdict.peer} could not be rolled back (${verdict.message}): ${why}`,
          );
        }
      }
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

import type {
  GuardVerdict,
  PeerAvailability,
  RoundSummary,
  UpdateRejected,
  VersionCommitted,
} from '@parley/contracts';
import type { RunEvent } from './follow-run.js';

/** One round in the record. */
export interface RoundRecord {
  round: number;
  questions: number;
  accepted: number;
  /** Null until the answers are complete. */
  agreement: number | null;
  missingPeers: string[];
  generateSeconds: number | null;
  scoreSeconds?: number;
  meanNormalizedPmi?: Record<string, number>;
  /** By peer. */
  updates: Record<string, UpdateRecord>;
}

/** What an update did to a peer. */
export interface UpdateRecord {
  version: number;
  weightsSha256: string;
  steps: number;
  items: number;
  meanLoss: number;
  meanAnchorLoss: number;
  meanGradNorm: number;
  tokens: number;
  seconds: number;
}

/** What a guard found. */
export interface GuardRecord {
  round: number;
  /** Empty: the whole mesh. */
  peer: string;
  guard: string;
  value: number;
  threshold: number;
  baseline?: number;
  action: string;
  message: string;
}

/** What a run's events add up to. */
export interface RunHistory {
  rounds: RoundRecord[];
  guardVerdicts: GuardRecord[];
  unavailable: { peer: string; available: boolean; phase: string; cause: string }[];
  rejectedUpdates: { updateId: string; peer: string; cause: string }[];
}

/** Collects the events of a run; the same event twice counts once. */
export interface RunRecorder {
  /** @returns whether the event was new */
  add(event: RunEvent): boolean;
  history(): RunHistory;
  /** Updates seen as applied. */
  updatesApplied(): number;
}

export function createRunRecorder(): RunRecorder {
  const rounds = new Map<number, RoundRecord>();
  const seen = new Set<string>();
  const history: RunHistory = { rounds: [], guardVerdicts: [], unavailable: [], rejectedUpdates: [] };
  let applied = 0;

  const roundOf = (round: bigint): RoundRecord => {
    const number = Number(round);
    const known = rounds.get(number);
    if (known) return known;
    const fresh: RoundRecord = {
      round: number,
      questions: 0,
      accepted: 0,
      agreement: null,
      missingPeers: [],
      generateSeconds: null,
      updates: {},
    };
    rounds.set(number, fresh);
    return fresh;
  };

  const record = (event: RunEvent): void => {
    switch (event.case) {
      case 'roundGenerated':
        return addAnswers(roundOf(event.value.round), event.value);
      case 'roundScored': {
        const round = roundOf(event.value.round);
        round.scoreSeconds = event.value.seconds;
        round.meanNormalizedPmi = { ...event.value.meanNormalizedPmi };
        return;
      }
      case 'versionCommitted':
        if (event.value.cause.case !== 'update') return;
        applied++;
        roundOf(event.value.cause.value.round).updates[event.value.peer] = updateRecord(event.value);
        return;
      case 'guardVerdict':
        history.guardVerdicts.push(verdictRecord(event.value));
        return;
      case 'peerAvailability':
        history.unavailable.push(availabilityRecord(event.value));
        return;
      case 'updateRejected':
        history.rejectedUpdates.push(rejectionRecord(event.value));
        return;
      case 'run':
      case undefined:
        return;
    }
  };

  return {
    add(event) {
      const key = identity(event);
      if (seen.has(key)) return false;
      seen.add(key);
      // A peer may be lost and come back many times: only the same news twice in a row is old.
      if (event.case === 'peerAvailability')
        seen.delete(`${event.case} ${event.value.peer} ${!event.value.available}`);
      record(event);
      return true;
    },
    history: () => ({ ...history, rounds: [...rounds.values()].sort((a, b) => a.round - b.round) }),
    updatesApplied: () => applied,
  };
}

/** What makes an event the same as another. */
function identity(event: RunEvent): string {
  switch (event.case) {
    case 'roundGenerated':
    case 'roundScored':
      return `${event.case} ${event.value.round}`;
    case 'versionCommitted':
      return `${event.case} ${event.value.peer} ${event.value.version}`;
    case 'run':
      return `${event.case} ${event.value.state} ${event.value.updateTime?.seconds}.${event.value.updateTime?.nanos}`;
    case 'guardVerdict':
      return `${event.case} ${event.value.round} ${event.value.peer} ${event.value.guard}`;
    case 'peerAvailability':
      return `${event.case} ${event.value.peer} ${event.value.available}`;
    case 'updateRejected':
      return `${event.case} ${event.value.updateId}`;
    case undefined:
      return 'unknown';
  }
}

function addAnswers(round: RoundRecord, summary: RoundSummary): void {
  round.questions = summary.items;
  round.accepted = summary.accepted;
  round.agreement = summary.agreement;
  round.missingPeers = [...summary.missingPeers];
  round.generateSeconds = summary.seconds;
}

function updateRecord({ version, weights, report }: VersionCommitted): UpdateRecord {
  return {
    version: Number(version),
    weightsSha256: weights?.sha256 ?? '',
    steps: report?.steps ?? 0,
    items: report?.items ?? 0,
    meanLoss: report?.meanLoss ?? 0,
    meanAnchorLoss: report?.meanAnchorLoss ?? 0,
    meanGradNorm: report?.meanGradNorm ?? 0,
    tokens: Number(report?.tokens ?? 0),
    seconds: report?.seconds ?? 0,
  };
}

function verdictRecord(verdict: GuardVerdict): GuardRecord {
  const { peer, guard, value, threshold, baseline, action, message } = verdict;
  const round = Number(verdict.round);
  return {
    round,
    peer,
    guard,
    value,
    threshold,
    ...(baseline !== undefined && { baseline }),
    action,
    message,
  };
}

function availabilityRecord({ peer, available, phase, cause }: PeerAvailability) {
  return { peer, available, phase, cause: cause?.message ?? '' };
}

function rejectionRecord({ updateId, peer, cause }: UpdateRejected) {
  return { updateId, peer, cause: cause?.message ?? '' };
}

import type { RoundSummary, Run, VersionCommitted } from '@parley/contracts';
import { duration, percent, plural } from '../output/format.js';
import { stateName } from './follow-run.js';
import type { RunEvent } from './follow-run.js';

/** What happened, in a line. */
export function describeEvent(event: RunEvent): string {
  switch (event.case) {
    case 'run':
      return describeRun(event.value);
    case 'roundGenerated':
      return describeAnswers(event.value);
    case 'roundScored':
      return describeScores(event.value);
    case 'versionCommitted':
      return describeVersion(event.value);
    case 'guardVerdict':
      return `guard ${event.value.guard}: ${event.value.message} (${event.value.action})`;
    case 'peerAvailability': {
      const { peer, available, phase, cause } = event.value;
      return available ? `${peer} goes on` : `${peer} cannot go on (${phase})${suffix(cause?.message ?? '')}`;
    }
    case 'updateRejected':
      return `${event.value.peer} refused update ${event.value.updateId}${suffix(event.value.cause?.message ?? '')}`;
    case undefined:
      return 'an event that this version of parley does not know';
  }
}

function describeRun({ runId, state, stateReason, progress }: Run): string {
  const head = `run ${runId} ${stateName(state)}${suffix(stateReason)}`;
  if (!progress || progress.roundsGenerated === 0n) return head;
  const { roundsGenerated, updatesApplied, updatesPublished } = progress;
  return `${head} (${plural(roundsGenerated, 'round')}, ${updatesApplied} of ${updatesPublished} updates applied)`;
}

function describeAnswers({ round, items, accepted, agreement, missingPeers, seconds }: RoundSummary): string {
  const missing = missingPeers.length === 0 ? '' : `, without ${missingPeers.join(', ')}`;
  return (
    `round ${round} answered: ${plural(items, 'question')}, ${accepted} accepted, ` +
    `all agree on ${percent(agreement, 0)}${missing}, ${duration(seconds)}`
  );
}

function describeScores({ round, meanNormalizedPmi, seconds }: RoundSummary): string {
  const pmi = Object.entries(meanNormalizedPmi).map(([peer, value]) => `${peer} ${value.toFixed(2)}`);
  const mean = pmi.length === 0 ? '' : `: mean PMI ${pmi.join(', ')} nats a token`;
  return `round ${round} scored${mean}, ${duration(seconds)}`;
}

function describeVersion({ peer, version, cause, report }: VersionCommitted): string {
  if (cause.case === 'restore') return `${peer} restored as version ${version}${suffix(cause.value.reason)}`;
  const round = cause.case === 'update' ? ` from round ${cause.value.round}` : '';
  if (!report) return `${peer} version ${version}${round}`;
  const { steps, items, meanLoss, seconds } = report;
  if (steps === 0) return `${peer} version ${version}${round}: nothing to learn`;
  return (
    `${peer} version ${version}${round}: ${plural(steps, 'step')} on ${plural(items, 'question')}, ` +
    `loss ${meanLoss.toFixed(3)}, ${duration(seconds)}`
  );
}

function suffix(text: string): string {
  return text === '' ? '' : `: ${text}`;
}

import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { CONSUMERS, consume } from '@parley/bus';
import type { Consumption, Poison } from '@parley/bus';
import { RoundGeneratedSchema, RunState } from '@parley/contracts';
import { isParleyError } from '@parley/runtime';
import { settleRound } from './settle-round.js';
import type { SettleParts } from './settle-round.js';

/** Deliveries after which a round that keeps failing is given up, and its run with it: minutes of trying. */
const MAX_DELIVERIES = 50;

/** Settles every generated round: those of one run in order, those of different runs side by side. */
export async function consumeRounds(parts: SettleParts, concurrency: number): Promise<Consumption> {
  const { bus, blobs } = parts;
  const turns = new Map<string, Promise<void>>();
  const options = {
    ...CONSUMERS.pmi(),
    schema: RoundGeneratedSchema,
    blobs,
    concurrency,
    maxDeliveries: MAX_DELIVERIES,
    backoff: { baseMs: 200, maxMs: 10_000 },
    onPoison: (poison: Poison) => giveUp(parts, poison),
  };
  return consume(bus, options, async ({ message: round }, signal) => {
    const before = turns.get(round.runId) ?? Promise.resolve();
    const turn = before.then(() => settleRound(parts, round, signal));
    const over = turn.catch(() => undefined);
    turns.set(round.runId, over);
    try {
      await turn;
    } finally {
      if (turns.get(round.runId) === over) turns.delete(round.runId);
    }
  });
}

/** A round that cannot be scored ends its run: without its updates the run would wait for ever. */
async function giveUp({ runs, tools, log }: SettleParts, { subject, error }: Poison): Promise<void> {
  const [runId, round] = subject.split('.').slice(-2) as [string, string];
  log.error({ run: runId, round, err: error }, 'a round cannot be scored');
  for (;;) {
    const found = await runs.get(runId);
    if (found === undefined) return;
    const { value, revision } = found;
    if (value.state !== RunState.RUNNING && value.state !== RunState.PAUSED) return;
    const failed = {
      ...value,
      state: RunState.FAILED,
      stateReason: `round ${round} cannot be scored: ${error.message}`,
      updateTime: timestampFromMs(tools.wallClockMs()),
    };
    try {
      await runs.update(runId, failed, revision);
      return;
    } catch (conflict) {
      if (!isParleyError(conflict, 'REVISION_CONFLICT')) throw conflict;
    }
  }
}

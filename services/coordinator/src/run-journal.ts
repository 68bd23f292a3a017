import { STREAMS, filters, readLast, subjects } from '@parley/bus';
import type { BlobReader, Bus, Publisher } from '@parley/bus';
import { RoundGeneratedSchema } from '@parley/contracts';
import type { GuardVerdict, RoundGenerated } from '@parley/contracts';
import { readVerdicts } from '@parley/mesh';

/** What is durable of one run. */
export interface RunJournal {
  /** The last round that was published. */
  lastRound(): Promise<RoundGenerated | undefined>;
  round(index: number): Promise<RoundGenerated | undefined>;
  /** Publishes a round; returns the one that is durable, which another coordinator may have been first to publish. */
  publishRound(round: RoundGenerated): Promise<RoundGenerated>;
  /** Every verdict of the run so far. */
  verdicts(): Promise<GuardVerdict[]>;
}

export function createRunJournal(
  bus: Bus,
  blobs: BlobReader,
  publisher: Publisher,
  runId: string,
): RunJournal {
  const rounds = { stream: STREAMS.rounds, schema: RoundGeneratedSchema, blobs };
  const at = async (subject: string) => (await readLast(bus, { ...rounds, subject }))?.message;
  return {
    lastRound: () => at(filters.generated(runId)),
    round: (index) => at(subjects.generated(runId, index)),
    async publishRound(round) {
      const subject = subjects.generated(runId, round.round);
      const id = `${runId}/${round.round}/generated`;
      const { duplicate } = await publisher.publishOnce(RoundGeneratedSchema, round, { subject, id });
      return duplicate ? ((await at(subject)) ?? round) : round;
    },
    verdicts: () => readVerdicts(bus, blobs, runId),
  };
}

import { STREAMS, filters, readFrom, readLast, subjects } from '@parley/bus';
import type { BlobReader, Bus, Publisher } from '@parley/bus';
import { MonitorMeasuredSchema, RoundGeneratedSchema, VersionCommittedSchema } from '@parley/contracts';
import type { GuardVerdict, MonitorMeasured, RoundGenerated, VersionCommitted } from '@parley/contracts';
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
  /** Every measurement of the monitor pool so far, oldest first. */
  measurements(): AsyncIterable<MonitorMeasured>;
  /** Publishes a measurement; returns the one that is durable. */
  publishMeasurement(measured: MonitorMeasured): Promise<MonitorMeasured>;
  /** What was published of a version, of this run or not; `undefined` if the stream no longer has it. */
  committed(peer: string, version: bigint): Promise<VersionCommitted | undefined>;
}

export function createRunJournal(
  bus: Bus,
  blobs: BlobReader,
  publisher: Publisher,
  runId: string,
): RunJournal {
  const rounds = { stream: STREAMS.rounds, schema: RoundGeneratedSchema, blobs };
  const monitored = { stream: STREAMS.rounds, schema: MonitorMeasuredSchema, blobs };
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
    async *measurements() {
      for await (const { message } of readFrom(bus, { ...monitored, filter: filters.monitored(runId) }))
        yield message;
    },
    async publishMeasurement(measured) {
      const { round, look } = measured;
      const subject = subjects.monitored(runId, round, look);
      const id = `${runId}/${round}/monitored/${look}`;
      const { duplicate } = await publisher.publishOnce(MonitorMeasuredSchema, measured, { subject, id });
      if (!duplicate) return measured;
      return (await readLast(bus, { ...monitored, subject }))?.message ?? measured;
    },
    async committed(peer, version) {
      const options = { stream: STREAMS.versions, schema: VersionCommittedSchema, blobs };
      const subject = subjects.version(peer, version);
      return (await readLast(bus, { ...options, subject }))?.message;
    },
  };
}

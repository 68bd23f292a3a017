import { clone, create } from '@bufbuild/protobuf';
import { STREAMS, countMessages, filters, readLast, subjects } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
import { PeerProgressSchema, PromptEventSchema, RunProgressSchema, RunSchema } from '@parley/contracts';
import type { DescribeResponse, Run } from '@parley/contracts';
import type { PeerPool } from '@parley/mesh';
import type { PeerProgressLog } from './peer-progress-log.js';

/** What progress is derived from. */
export interface ProgressParts {
  bus: Bus;
  blobs: BlobReader;
  progress: PeerProgressLog;
  pool: PeerPool;
}

/** The run with its progress as the streams tell it now. */
export async function withProgress(parts: ProgressParts, run: Run): Promise<Run> {
  const { bus, blobs, progress } = parts;
  const { runId } = run;
  const names = run.spec?.peers ?? [];
  const [last, messages, generated, scored, published, descriptions] = await Promise.all([
    readLast(bus, {
      stream: STREAMS.prompts,
      schema: PromptEventSchema,
      blobs,
      subject: subjects.prompts(runId),
    }),
    countMessages(bus, STREAMS.prompts, subjects.prompts(runId)),
    countMessages(bus, STREAMS.rounds, filters.generated(runId)),
    countMessages(bus, STREAMS.rounds, filters.scored(runId)),
    countMessages(bus, STREAMS.updates, filters.updatesOfRun(runId)),
    Promise.all(names.map((name) => describe(parts.pool, name))),
  ]);
  const closed = last?.message.event.case === 'closed';
  const peers = names.map((peer, index) => {
    const description = descriptions[index];
    // A peer that never committed still has a version 0, which it alone can tell.
    const latest = progress.latest(peer) ?? description;
    const { firstVersion, applied } = progress.of(runId, peer);
    return create(PeerProgressSchema, {
      peer,
      firstVersion: firstVersion ?? latest?.version ?? 0n,
      version: latest?.version ?? 0n,
      roundsApplied: BigInt(applied),
      available: description !== undefined,
      weightsSha256: latest?.weightsSha256 ?? '',
    });
  });
  return Object.assign(clone(RunSchema, run), {
    progress: create(RunProgressSchema, {
      promptsSubmitted: BigInt(closed ? messages - 1 : messages),
      promptsClosed: closed,
      roundsGenerated: BigInt(generated),
      roundsScored: BigInt(scored),
      updatesPublished: BigInt(published),
      updatesApplied: peers.reduce((sum, peer) => sum + peer.roundsApplied, 0n),
      peers,
    }),
  });
}

/** What a peer says now, or `undefined` if it does not answer. */
export async function describe(pool: PeerPool, name: string): Promise<DescribeResponse | undefined> {
  const peer = pool.peer(name);
  return peer.health.available ? peer.describe().catch(() => undefined) : undefined;
}

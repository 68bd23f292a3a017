import { readFile } from 'node:fs/promises';
import { create, fromJsonString, toJsonString } from '@bufbuild/protobuf';
import { SnapshotResponseSchema } from '@parley/contracts';
import type { SnapshotRequest, SnapshotResponse } from '@parley/contracts';
import { ParleyError, systemCode, writeFileAtomic } from '@parley/runtime';
import { keptWeights } from './restore.js';
import type { StateStore } from './state-store.js';
import type { WeightsStore } from './weights-store.js';

/** Stores weights of a version where others can read them. */
export interface Snapshots {
  /**
   * Idempotent by request_id, also after a restart: a repetition gets the first answer, whatever was committed since.
   *
   * @throws ParleyError REQUEST_INVALID, NAME_INVALID, VERSION_NOT_KEPT, STATE_CORRUPT, DISK_FULL,
   *   BUS_UNAVAILABLE
   */
  take(request: SnapshotRequest): Promise<SnapshotResponse>;
}

/** @param path - file that remembers the answers, one a line */
export function createSnapshots(path: string, store: StateStore, weights: WeightsStore): Snapshots {
  let turn: Promise<unknown> = Promise.resolve();
  const take = async ({ requestId, version }: SnapshotRequest): Promise<SnapshotResponse> => {
    const answers = await readAnswers(path);
    const earlier = answers.get(requestId);
    if (earlier) return earlier;
    const wanted = version ?? BigInt(store.head.version);
    const location = await weights.putSnapshot(requestId, await keptWeights(store, wanted));
    const answer = create(SnapshotResponseSchema, { version: wanted, weights: location });
    await writeFileAtomic(path, toLines(answers.set(requestId, answer)));
    return answer;
  };
  return {
    async take(request) {
      if (request.requestId === '')
        throw new ParleyError('REQUEST_INVALID', 'The snapshot has no request_id');
      const result = turn.then(() => take(request));
      turn = result.catch(() => undefined);
      return result;
    },
  };
}

function toLines(answers: ReadonlyMap<string, SnapshotResponse>): string {
  const line = ([requestId, answer]: [string, SnapshotResponse]) =>
    `${JSON.stringify([requestId, toJsonString(SnapshotResponseSchema, answer)])}\n`;
  return [...answers].map(line).join('');
}

async function readAnswers(path: string): Promise<Map<string, SnapshotResponse>> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  });
  try {
    const lines = text.split('\n').filter((line) => line !== '');
    const pairs = lines.map((line) => JSON.parse(line) as [string, string]);
    return new Map(
      pairs.map(([requestId, json]) => [requestId, fromJsonString(SnapshotResponseSchema, json)]),
    );
  } catch (error) {
    throw new ParleyError(
      'STATE_CORRUPT',
      `${path} cannot be read back: ${(error as Error).message}. Remove it: it only remembers which snapshots were taken`,
      { details: { path }, cause: error },
    );
  }
}

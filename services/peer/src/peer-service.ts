import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { PeerService, WeightedUpdate } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { RolePolicy, ServiceImpl } from '@parley/runtime';
import { generate } from './generate.js';
import { memory } from './memory.js';
import type { PeerMetrics } from './peer-metrics.js';
import { restoreChange } from './restore.js';
import { score } from './score.js';
import type { Snapshots } from './snapshot.js';
import type { StateStore } from './state-store.js';
import { streamOf } from './stream-of.js';
import type { TextCodec } from './text-codec.js';
import type { Advance, VersionedModel } from './versioned-model.js';
import type { WeightsStore } from './weights-store.js';

/** What the RPCs work on. */
export interface PeerServiceParts {
  model: VersionedModel;
  codec: TextCodec;
  store: StateStore;
  weights: WeightsStore;
  snapshots: Snapshots;
  applyUpdate: ApplyUpdate;
  metrics: PeerMetrics;
  /** Wall clock. */
  date: () => Date;
}

/** Who may ask a peer for what, where the mesh has certificates. */
export const PEER_POLICY: RolePolicy<typeof PeerService> = {
  describe: ['coordinator', 'pmi', 'operator'],
  generate: ['coordinator', 'pmi', 'operator'],
  score: ['coordinator', 'pmi', 'operator'],
  applyUpdate: ['operator'],
  snapshot: ['operator'],
  restore: ['coordinator', 'operator'],
};

/** Applies an update once, however often it is asked to; see {@link VersionedModel.advance} for its failures. */
export type ApplyUpdate = (update: WeightedUpdate, signal: AbortSignal) => Promise<Advance>;

/** `parley.v1.PeerService` over a versioned model. */
export function createPeerService(parts: PeerServiceParts): ServiceImpl<typeof PeerService> {
  const { model, codec, store, weights, snapshots, applyUpdate, metrics, date } = parts;
  return {
    describe: async () => {
      const { head, info } = model;
      return {
        name: head.peer,
        architecture: info.architecture,
        parameters: BigInt(info.parameters),
        trainableParameters: BigInt(info.trainableParameters),
        trainingMethod: head.method.split(' ', 1)[0],
        contextTokens: info.contextTokens,
        vocabularySize: info.vocabularySize,
        device: info.device,
        version: BigInt(head.version),
        weightsSha256: head.weightsSha256,
        baseSha256: head.baseSha256,
        updatesApplied: BigInt(head.ledger.updatesApplied),
        activity: model.activity,
        utilization: model.utilization,
        time: timestampFromDate(date()),
        ...memory(),
        judgesCandidates: codec.judgesCandidates,
      };
    },
    generate: (request, { signal }) =>
      streamOf((emit) => generate(model, codec, request, emit, { signal, metrics })),
    score: (request, { signal }) => score(model, codec, request, { signal, metrics }),
    applyUpdate: async ({ update }, { signal }) => {
      if (update === undefined) throw new ParleyError('REQUEST_INVALID', 'The request holds no update');
      const { committed, repeated } = await applyUpdate(update, signal);
      return { committed, alreadyApplied: repeated };
    },
    snapshot: (request) => snapshots.take(request),
    restore: async (request, { signal }) => {
      const { committed } = await model.advance(restoreChange(request, store, weights), signal);
      return { committed };
    },
  };
}

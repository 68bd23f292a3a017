import { hostname } from 'node:os';
import { BUS_FIELDS } from '@parley/bus';
import { MODEL_FIELDS, MODEL_URIS, parseModelUri } from '@parley/models';
import { TLS_FIELDS, field } from '@parley/runtime';
import type { ConfigOf, Field, FieldOptions } from '@parley/runtime';
import { quantizations } from '@parley/lm';
import type { Trainable } from '@parley/lm';

/** The mesh allows 64 characters; the name of the update consumer, peer-<name>, has to fit them too. */
const NAME = /[A-Za-z0-9_-]{1,59}/;

/** Every setting of a peer, by the name it has in {@link PeerConfig}. */
export const PEER_FIELDS = {
  name: field.string('PARLEY_PEER_NAME', {
    description: 'name in the mesh: letters, digits, "-" and "_", at most 59',
    pattern: NAME,
  }),
  model: modelField('PARLEY_MODEL', {
    description: 'Hugging Face model folder, or where it is fetched from into a cache before the peer serves',
  }),
  stateDir: field.path('PARLEY_STATE_DIR', {
    description: 'folder of the committed state; made if missing, never shared',
  }),
  listen: field.listen('PARLEY_LISTEN', {
    description: 'host:port to serve gRPC on; port 0 takes a free one',
    fallback: { host: '127.0.0.1', port: 0 },
  }),
  advertise: field.optional(
    field.hostPort('PARLEY_ADVERTISE', {
      description: 'host:port under which others reach it; the listening one unless set',
    }),
  ),
  ...BUS_FIELDS,
  ...TLS_FIELDS,
  device: field.oneOf('PARLEY_DEVICE', ['cpu', 'webgpu', 'cuda', 'auto'], {
    description: 'where the model runs; a device that is missing is an error',
    fallback: 'cpu',
  }),
  threads: field.integer('PARLEY_THREADS', {
    description: 'threads of the engine',
    fallback: 1,
    min: 1,
    max: 1024,
  }),
  spinning: field.boolean('PARLEY_SPINNING', {
    description: 'idle engine threads spin: faster on a machine of its own, harmful on a shared one',
    fallback: false,
  }),
  train: trainField('PARLEY_TRAIN', {
    description:
      'which weights train: all, low-rank adapters (alpha is twice the rank unless given), or those of an adapter that PEFT saved',
    fallback: { kind: 'full' },
  }),
  quantization: field.oneOf('PARLEY_QUANTIZATION', quantizations, {
    description:
      'how the weights are held: as they are, or matrices in 8 bits with low-rank adapters beside them (device cpu, PARLEY_TRAIN=lora:…); w8a8 also rounds activations to 8 bits: faster, less exact',
    fallback: 'none',
  }),
  recompute: field.oneOf('PARLEY_RECOMPUTE', ['auto', 'always', 'never'], {
    description:
      'whether training computes layers again in the backward pass instead of keeping them; auto: if they do not fit the memory otherwise',
    fallback: 'auto',
  }),
  blobs: blobsField('PARLEY_BLOBS', {
    description:
      "where weights are stored for others: nats-server's object store, or a folder that they share",
    fallback: 'nats',
  }),
  keepVersions: field.integer('PARLEY_KEEP_VERSIONS', {
    description: 'versions kept for restoring, beside version 0',
    fallback: 8,
    min: 1,
    max: 1_000_000,
  }),
  maxBatch: field.integer('PARLEY_MAX_BATCH', {
    description: 'sequences that run together',
    fallback: 32,
    min: 1,
    max: 4096,
  }),
  ...MODEL_FIELDS,
  maxBatchTokens: field.optional(
    field.integer('PARLEY_MAX_BATCH_TOKENS', {
      description: "tokens of one pass, padding included; by the model's size unless set",
      min: 1,
      max: 2 ** 20,
    }),
  ),
};

/** Validated settings of a peer. */
export type PeerConfig = ConfigOf<typeof PEER_FIELDS>;

/** The address others are told: as configured, or as listened on, a wildcard host replaced by the machine's name. */
export function advertisedAddress(
  { advertise, listen }: Pick<PeerConfig, 'advertise' | 'listen'>,
  port: number,
): string {
  if (advertise !== undefined) return advertise;
  const isWildcard = ['0.0.0.0', '[::]', ''].includes(listen.host);
  return `${isWildcard ? hostname() : listen.host}:${port}`;
}

/** Which weights train: as the engine has it, or as an adapter's folder says, whose weights training starts from. */
export type TrainSetting = Trainable | { readonly kind: 'adapter'; readonly folder: string };

function trainField(env: string, options: FieldOptions<TrainSetting>): Field<TrainSetting> {
  const parse = (text: string): TrainSetting => {
    if (text === 'full') return { kind: 'full' };
    if (text.startsWith('adapter:/')) return { kind: 'adapter', folder: text.slice('adapter:'.length) };
    const [, rankText, alphaText] = /^lora:(\d{1,4})(?::(\d+(?:\.\d+)?))?$/.exec(text) ?? [];
    const rank = Number(rankText);
    const alpha = alphaText === undefined ? 2 * rank : Number(alphaText);
    if (!(rank >= 1 && alpha > 0))
      throw new Error(
        `"${text}" is neither full nor lora:<rank>[:<alpha>] with both above 0, such as lora:16:32, nor adapter:/folder`,
      );
    return { kind: 'lora', rank, alpha, seed: 0 };
  };
  const format = (train: TrainSetting) => {
    if (train.kind === 'full') return 'full';
    return train.kind === 'lora' ? `lora:${train.rank}:${train.alpha}` : `adapter:${train.folder}`;
  };
  const values = 'full, lora:RANK, lora:RANK:ALPHA, adapter:/FOLDER';
  return field.parsed(env, options, { values, parse, format });
}

function modelField(env: string, options: FieldOptions<string>): Field<string> {
  const parse = (text: string): string => {
    parseModelUri(text);
    return text;
  };
  return field.parsed(env, options, { values: MODEL_URIS, parse });
}

function blobsField(env: string, options: FieldOptions<string>): Field<string> {
  const parse = (text: string): string => {
    if (text === 'nats' || /^file:\/\/\/./.test(text)) return text;
    throw new Error(`"${text}" is neither nats nor file:///folder (an absolute path)`);
  };
  return field.parsed(env, options, { values: 'nats, file:///folder', parse });
}

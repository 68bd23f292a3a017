import { homedir } from 'node:os';
import { join } from 'node:path';
import { field } from '@parley/runtime';
import type { ConfigOf, Field } from '@parley/runtime';

/**
 * Settings by which models are fetched. Those that are not Parley's own are named, and mean, what they do for Hugging Face's
 * and Amazon's own programs.
 */
export const MODEL_FIELDS = {
  modelSha256: field.optional(
    field.string('PARLEY_MODEL_SHA256', {
      description:
        'digest that the model must have, as `sha256sum` of its files summed again; required for http://',
      pattern: /[0-9a-f]{64}/,
    }),
  ),
  modelToken: field.optional(
    field.secret('PARLEY_MODEL_TOKEN', {
      description: 'bearer token for the server or hub that the model is fetched from',
    }),
  ),
  modelMaxBytes: field.integer('PARLEY_MODEL_MAX_BYTES', {
    description: 'most bytes of all files together; a model that is larger is refused',
    fallback: 64 * 1024 ** 3,
    min: 1,
  }),
  modelDeadlineMs: field.durationMs('PARLEY_MODEL_DEADLINE', {
    description: 'longest time for all of it; what is there by then is gone on with the next time',
    fallback: 2 * 3_600_000,
    min: 1000,
  }),
  hfEndpoint: field.url('HF_ENDPOINT', {
    description: 'hub that hf:// names models of',
    protocols: ['https:', 'http:'],
    fallback: 'https://huggingface.co',
  }),
  hfToken: field.optional(
    field.string('HF_TOKEN', { description: 'token for the hub; comes before the file' }),
  ),
  hfTokenPath: field.optional(
    field.path('HF_TOKEN_PATH', {
      description: 'file with a token for the hub; `token` in `HF_HOME` unless given',
    }),
  ),
  hfHome: field.optional(
    field.path('HF_HOME', {
      description: "Hugging Face's folder; `huggingface` in `XDG_CACHE_HOME` or in `~/.cache` unless given",
    }),
  ),
  hfHubCache: field.optional(
    field.path('HF_HUB_CACHE', {
      description: 'cache of models from the hub; `hub` in `HF_HOME` unless given',
    }),
  ),
  hfOffline: offlineField('HF_HUB_OFFLINE', 'ask no hub: only models that the cache has'),
  awsEndpoint: field.optional(
    field.url('AWS_ENDPOINT_URL', {
      description: "store that s3:// names buckets of, such as MinIO; Amazon's unless given",
      protocols: ['https:', 'http:'],
    }),
  ),
  awsRegion: field.optional(field.string('AWS_REGION', { description: 'region of the bucket' })),
  awsDefaultRegion: field.string('AWS_DEFAULT_REGION', {
    description: 'the same, where `AWS_REGION` is not given',
    fallback: 'us-east-1',
  }),
  awsAccessKeyId: field.optional(
    field.string('AWS_ACCESS_KEY_ID', { description: 'access key; without one requests are not signed' }),
  ),
  awsSecretAccessKey: field.optional(
    field.string('AWS_SECRET_ACCESS_KEY', { description: 'secret of the access key' }),
  ),
  awsSessionToken: field.optional(
    field.string('AWS_SESSION_TOKEN', { description: 'session token of a temporary access key' }),
  ),
  parleyCache: field.optional(
    field.path('PARLEY_CACHE', {
      description:
        'cache of models from s3:// and https://; `parley` in `XDG_CACHE_HOME` or in `~/.cache` unless given',
    }),
  ),
  xdgCacheHome: field.optional(
    field.path('XDG_CACHE_HOME', { description: 'folder of caches; `~/.cache` unless given' }),
  ),
};

/** What {@link MODEL_FIELDS} are read into. */
export type ModelSettings = ConfigOf<typeof MODEL_FIELDS>;

/** Folders of the caches, as huggingface_hub finds them. */
export function cacheFolders({ hfHome, hfHubCache, hfTokenPath, parleyCache, xdgCacheHome }: ModelSettings) {
  const caches = xdgCacheHome ?? join(homedir(), '.cache');
  const home = fromHome(hfHome ?? join(caches, 'huggingface'));
  return {
    hub: fromHome(hfHubCache ?? join(home, 'hub')),
    token: fromHome(hfTokenPath ?? join(home, 'token')),
    models: join(fromHome(parleyCache ?? join(caches, 'parley')), 'models'),
  };
}

/** `~` as a shell would write it out. */
function fromHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path;
}

/** The words that Hugging Face's programs take for yes. */
function offlineField(env: string, description: string): Field<boolean> {
  const parse = (text: string) => {
    const word = text.toLowerCase();
    if (['1', 'on', 'yes', 'true'].includes(word)) return true;
    if (['0', 'off', 'no', 'false'].includes(word)) return false;
    throw new Error(`"${text}" is neither 1 nor 0`);
  };
  const format = (value: boolean) => (value ? '1' : '0');
  return field.parsed(env, { description, fallback: false }, { values: '1, 0', parse, format });
}

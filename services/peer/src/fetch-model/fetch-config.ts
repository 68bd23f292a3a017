import { field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

/** Settings of the step that brings a model to where a peer finds it. */
export const FETCH_FIELDS = {
  uri: field.url('PARLEY_MODEL_URI', {
    description:
      'where the model lies: https://host/folder/ whose files are fetched by name (a hub, a bucket), or file:///folder',
    protocols: ['https:', 'http:', 'file:'],
  }),
  model: field.path('PARLEY_MODEL', {
    description: 'folder that the model is brought to; its parent must exist',
  }),
  sha256: field.optional(
    field.string('PARLEY_MODEL_SHA256', {
      description:
        'digest that the model must have, as `sha256sum` of its files summed again; required for http://',
      pattern: /[0-9a-f]{64}/,
    }),
  ),
  token: field.optional(
    field.secret('PARLEY_MODEL_TOKEN', { description: 'bearer token for a server that asks for one' }),
  ),
  maxBytes: field.integer('PARLEY_MODEL_MAX_BYTES', {
    description: 'most bytes of all files together; a model that is larger is refused',
    fallback: 64 * 1024 ** 3,
    min: 1,
  }),
  deadlineMs: field.durationMs('PARLEY_MODEL_DEADLINE', {
    description: 'longest time for all of it; what is there by then is gone on with the next time',
    fallback: 2 * 3_600_000,
    min: 1000,
  }),
};

/** What {@link FETCH_FIELDS} are read into. */
export type FetchConfig = ConfigOf<typeof FETCH_FIELDS>;

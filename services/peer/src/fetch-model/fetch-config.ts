import { MODEL_FIELDS, parseModelUri } from '@parley/models';
import { field } from '@parley/runtime';

/** Settings of the step that brings a model to where a peer finds it. */
export const FETCH_FIELDS = {
  uri: field.parsed(
    'PARLEY_MODEL_URI',
    {
      description:
        'where the model lies: on a hub, in a bucket, in a folder of a web server whose files are asked for by name, or on a volume',
    },
    {
      values: 'hf://org/model[@revision], s3://bucket/prefix, https://host/folder/, file:///folder',
      parse(text) {
        if (parseModelUri(text).kind !== 'folder' || text.startsWith('file:')) return text;
        throw new Error(`"${text}" is none of hf://, s3://, https://, http:// and file:///`);
      },
    },
  ),
  model: field.path('PARLEY_MODEL', {
    description: 'folder that the model is brought to; its parent must exist',
  }),
  ...MODEL_FIELDS,
};

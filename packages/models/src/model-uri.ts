import { fileURLToPath } from 'node:url';

/** Where a model lies. */
export type ModelUri =
  | { readonly kind: 'folder'; readonly folder: string }
  /** A repository of a Hugging Face hub. */
  | { readonly kind: 'hub'; readonly repo: string; readonly revision: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }
  /** A folder of a web server, whose files are asked for by name. */
  | { readonly kind: 'web'; readonly url: string };

/** What {@link parseModelUri} takes, for tables of settings. */
export const MODEL_URIS =
  'folder, file:///folder, hf://org/model[@revision], s3://bucket/prefix, https://host/folder/';

const DEFAULT_REVISION = 'main';
/** As the hub allows them: letters, digits, "-", "_" and ".", no "--" and no "..". */
const REPO_PART = /^(?!.*(--|\.\.))[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$/;
/** A name of a branch or tag (git-check-ref-format), or a commit. */
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._/-]*$/;
/** The naming rules of Amazon S3. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/**
 * Reads where a model lies: a folder, or one of {@link MODEL_URIS}.
 *
 * @throws Error whose message says what is wrong with the text
 */
export function parseModelUri(text: string): ModelUri {
  const [, scheme, rest = ''] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(text) ?? [];
  switch (scheme?.toLowerCase()) {
    case undefined:
      if (text === '' || text.includes('\0'))
        throw new Error('is no path: it is empty or holds a NUL character');
      return { kind: 'folder', folder: text };
    case 'file':
      return { kind: 'folder', folder: fileFolder(text) };
    case 'hf':
      return parseRepo(rest);
    case 's3':
      return parseBucket(text, rest);
    case 'https':
    case 'http':
      if (!URL.canParse(text)) throw new Error(`"${text}" is not a URL`);
      return { kind: 'web', url: text.endsWith('/') ? text : `${text}/` };
    default:
      throw new Error(`"${text}" is none of ${MODEL_URIS}`);
  }
}

/** `org/model` with an optional `@revision`; `main` unless given. @throws Error as {@link parseModelUri} */
export function parseRepo(text: string): ModelUri {
  const at = text.indexOf('@');
  const repo = at < 0 ? text : text.slice(0, at);
  const revision = at < 0 ? DEFAULT_REVISION : text.slice(at + 1);
  const parts = repo.split('/');
  if (parts.length > 2 || !parts.every((part) => REPO_PART.test(part)))
    throw new Error(`"${repo}" is not the name of a model on a hub, such as Qwen/Qwen2.5-0.5B-Instruct`);
  const steps = revision.split('/');
  if (!REVISION.test(revision) || revision.includes('..') || steps.includes(''))
    throw new Error(`"${revision}" is not a branch, a tag or a commit`);
  return { kind: 'hub', repo, revision };
}

/** The URI in one form, for messages and for what is kept by it. */
export function formatModelUri(uri: ModelUri): string {
  switch (uri.kind) {
    case 'folder':
      return uri.folder;
    case 'hub':
      return `hf://${uri.repo}@${uri.revision}`;
    case 's3':
      return `s3://${uri.bucket}/${uri.prefix}`;
    case 'web':
      return uri.url;
  }
}

function fileFolder(text: string): string {
  try {
    return fileURLToPath(text);
  } catch (error) {
    throw new Error(`"${text}" is not file:///folder (an absolute path)`, { cause: error });
  }
}

function parseBucket(text: string, rest: string): ModelUri {
  const slash = rest.indexOf('/');
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  if (!BUCKET.test(bucket))
    throw new Error(`"${text}" is not s3://bucket/prefix: "${bucket}" is no name of a bucket`);
  const folder = slash < 0 ? '' : rest.slice(slash + 1).replace(/\/+$/, '');
  return { kind: 's3', bucket, prefix: folder === '' ? '' : `${folder}/` };
}

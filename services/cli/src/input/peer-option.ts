import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseModelUri } from '@parley/models';
import type { ModelUri } from '@parley/models';
import { ParleyError } from '@parley/runtime';

/** What a `--peer` names. */
export type PeerOption =
  | { kind: 'folder'; name: string; folder: string }
  /** To be fetched. */
  | { kind: 'model'; name: string; uri: ModelUri }
  | { kind: 'address'; name: string; address: string }
  | { kind: 'name'; name: string };

const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const ADDRESS = /^(\[[0-9a-fA-F:]+\]|[^\s:[\]/]+):(\d{1,5})$/;

/**
 * `NAME=FOLDER`, `NAME=URI` of a model, `NAME=HOST:PORT` or `NAME`. What follows `=` is an address if it looks like one and no such folder
 * exists.
 *
 * @throws ParleyError NAME_INVALID or CONFIG_INVALID
 */
export function parsePeerOption(text: string, cwd: string): PeerOption {
  const separator = text.indexOf('=');
  const name = separator < 0 ? text : text.slice(0, separator);
  if (!NAME.test(name)) {
    throw new ParleyError(
      'NAME_INVALID',
      `--peer ${text}: "${name}" cannot be a peer's name; use 1 to 64 letters, digits, "-" and "_"`,
    );
  }
  if (separator < 0) return { kind: 'name', name };
  const value = text.slice(separator + 1);
  if (value.includes('://')) return fromUri(text, name, value);
  const folder = resolve(cwd, value);
  if (isFolder(folder)) return { kind: 'folder', name, folder };
  if (ADDRESS.test(value)) return { kind: 'address', name, address: value };
  throw new ParleyError(
    'CONFIG_INVALID',
    `--peer ${text}: ${folder} is not a folder, and "${value}" is not host:port; give the folder of a Hugging Face ` +
      'checkpoint (config.json, tokenizer.json, model.safetensors), or hf://org/model[@revision]',
  );
}

function fromUri(text: string, name: string, value: string): PeerOption {
  try {
    const uri = parseModelUri(value);
    return uri.kind === 'folder'
      ? { kind: 'folder', name, folder: uri.folder }
      : { kind: 'model', name, uri };
  } catch (error) {
    throw new ParleyError('CONFIG_INVALID', `--peer ${text}: ${(error as Error).message}`, { cause: error });
  }
}

/** All of them, names unique. @throws ParleyError CONFIG_INVALID for a name used twice */
export function parsePeerOptions(texts: readonly string[] = [], cwd: string): PeerOption[] {
  const options = texts.map((text) => parsePeerOption(text, cwd));
  const repeated = options.find(
    ({ name }, index) => options.findIndex((other) => other.name === name) < index,
  );
  if (repeated)
    throw new ParleyError('CONFIG_INVALID', `--peer ${repeated.name} is given twice; names are unique`);
  return options;
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

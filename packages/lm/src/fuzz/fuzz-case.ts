import { createDraw } from './draw.js';
import { fieldValues, mutateJson, setField } from './mutate-json.js';
import type { Mutation } from './mutate-json.js';
import { mutateSafetensors } from './mutate-safetensors.js';
import { mutateTemplate } from './mutate-template.js';

/** How a file of a base is damaged. */
export type FileKind = 'json' | 'safetensors' | 'template';

/** A folder that is valid as it is. */
export interface FuzzBase {
  readonly label: string;
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** The files that mutations go to; the others stay as they are. */
  readonly targets: Readonly<Record<string, FileKind>>;
  /** What messages call a file that the reader is given as bytes alone. */
  readonly labels?: readonly string[];
}

/** One damaged folder: `file` of base `base` replaced by `mutation.bytes`. */
export interface FuzzCase {
  readonly base: FuzzBase;
  readonly file: string;
  readonly mutation: Mutation;
}

/** Every field of the JSON files of these bases with every value of the sweep, in a fixed order. */
export function sweepCases(bases: readonly FuzzBase[]): (() => FuzzCase)[] {
  return bases.flatMap((base) =>
    Object.entries(base.targets)
      .filter(([, kind]) => kind === 'json')
      .flatMap(([file]) =>
        fieldPaths(JSON.parse(Buffer.from(base.files[file]).toString()) as unknown).flatMap((path) =>
          fieldValues.map((value) => () => ({
            base,
            file,
            mutation: setField(base.files[file], path, value),
          })),
        ),
      ),
  );
}

/** Random case `index`: the same for the same seed, target and index. */
export function randomCase(
  bases: readonly FuzzBase[],
  target: string,
  seed: number,
  index: number,
): FuzzCase {
  const draw = createDraw(seed, target, index);
  const base = draw.pick(bases);
  const [file, kind] = draw.pick(Object.entries(base.targets));
  const mutate = { json: mutateJson, safetensors: mutateSafetensors, template: mutateTemplate }[kind];
  return { base, file, mutation: mutate(draw, base.files[file]) };
}

/** Paths of all fields, but of tables and lists (vocabularies and the like) only of the first few entries. */
function fieldPaths(value: unknown, prefix: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  const entries = Object.entries(value) as [string, unknown][];
  const isTable = Array.isArray(value) || entries.length > 60;
  return entries.slice(0, isTable ? 2 : entries.length).flatMap(([key, inner]) => {
    const path = [...prefix, key];
    return [path, ...fieldPaths(inner, path)];
  });
}

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ParleyError } from '@parley/runtime';
import { PRESETS, RECIPE_FIELDS, resolveRecipe } from '@parley/pst';
import type { Recipe } from '@parley/pst';

/** What a user says about the recipe. */
export interface RecipeOptions {
  /** The name of a preset, or a JSON file. */
  recipe: string;
  /** `field.path=value`, applied in order. */
  set?: readonly string[] | undefined;
  /** Peers of the run. */
  peers: number;
  cwd: string;
}

/**
 * The complete recipe of a run. A file is JSON: `{"preset": "paper" | "trust" | "trust-pmi" | "custom", …}` with whatever differs.
 *
 * @throws ParleyError RECIPE_INVALID listing every problem, each by its field's path
 */
export async function loadRecipe({ recipe, set = [], peers, cwd }: RecipeOptions): Promise<Recipe> {
  const override = await readOverride(recipe, cwd);
  for (const assignment of set) assign(override, assignment);
  const resolved = resolveRecipe(override, { peers });
  if (resolved.ok) return resolved.recipe;
  const lines = resolved.problems.map(({ path, message }) => `  ${path} ${message}`.trimEnd());
  const source = isPreset(recipe) ? `The recipe (${recipe} with --set)` : `The recipe in ${recipe}`;
  throw new ParleyError('RECIPE_INVALID', `${source} cannot run:\n${lines.join('\n')}`, {
    details: Object.fromEntries(resolved.problems.map(({ path, message }) => [path, message])),
  });
}

function isPreset(text: string): boolean {
  return Object.hasOwn(PRESETS, text);
}

async function readOverride(recipe: string, cwd: string): Promise<Record<string, unknown>> {
  if (isPreset(recipe)) return { preset: recipe };
  const path = resolve(cwd, recipe);
  const text = await readText(path, recipe);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ParleyError('RECIPE_INVALID', `${path} is not valid JSON: ${why}`, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ParleyError('RECIPE_INVALID', `${path} is not a JSON object; write {"preset": "paper", …}`);
}

async function readText(path: string, recipe: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ParleyError(
      'RECIPE_INVALID',
      `--recipe ${recipe}: neither a preset (${Object.keys(PRESETS).join(', ')}) nor a file that can be read: ${why}`,
      { cause: error },
    );
  }
}

/**
 * Sets one dotted field. The value is read as JSON where it is JSON (`0.1`, `true`, `null`, `["a","b"]`), else as text;
 * for a field that is a list, as words separated by commas.
 */
function assign(target: Record<string, unknown>, assignment: string): void {
  const separator = assignment.indexOf('=');
  const path = assignment.slice(0, Math.max(0, separator)).trim();
  const keys = path.split('.');
  if (keys.some((key) => !/^[A-Za-z][A-Za-z0-9]*$/.test(key))) {
    throw new ParleyError(
      'RECIPE_INVALID',
      `--set ${assignment}: write field.path=value, for example --set training.learningRate=1e-4`,
    );
  }
  let inner = target;
  for (const key of keys.slice(0, -1)) {
    const next = Object.hasOwn(inner, key) ? inner[key] : undefined;
    const record = typeof next === 'object' && next !== null ? (next as Record<string, unknown>) : {};
    inner[key] = record;
    inner = record;
  }
  const value = parseValue(assignment.slice(separator + 1));
  const isList = Object.hasOwn(RECIPE_FIELDS, path) && RECIPE_FIELDS[path]?.type === 'list';
  const words = isList && typeof value === 'string' ? value.split(',').map((word) => word.trim()) : value;
  inner[keys.at(-1) ?? ''] = words;
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}

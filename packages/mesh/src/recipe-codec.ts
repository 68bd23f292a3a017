import { fromJson, toJson } from '@bufbuild/protobuf';
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { RecipeSchema } from '@parley/contracts';
import type { Recipe as RecipeMessage } from '@parley/contracts';
import { PAPER, RECIPE_FIELDS, validateRecipe } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import { ParleyError } from '@parley/runtime';

/** The recipe as it travels and is stored with the run: field for field the same. */
export function recipeToMessage(recipe: Recipe): RecipeMessage {
  return fromJson(RecipeSchema, recipe as unknown as JsonValue);
}

/**
 * The recipe of a message, validated.
 *
 * @param peers - number of peers of the run, which some choices depend on
 * @throws ParleyError RECIPE_INVALID with every problem, each by the field's path
 */
export function recipeFromMessage(message: RecipeMessage | undefined, peers: number): Recipe {
  const json = message === undefined ? {} : toJson(RecipeSchema, message, { alwaysEmitImplicit: true });
  // Recipes of before there were monitor pools have none.
  const recipe = withNulls({ monitor: { ...PAPER.monitor }, ...(json as JsonObject) });
  const problems = validateRecipe(recipe, { peers });
  if (problems.length === 0) return recipe as unknown as Recipe;
  const lines = problems.map(({ path, message: text }) => `${path} ${text}`.trim());
  throw new ParleyError(
    'RECIPE_INVALID',
    `The recipe cannot run:\n${lines.map((line) => `  ${line}`).join('\n')}`,
    {
      details: Object.fromEntries(problems.map(({ path, message: text }) => [path || 'recipe', text])),
    },
  );
}

/** An optional field that is unset is `null` in a recipe. */
function withNulls(recipe: JsonObject): JsonObject {
  for (const [path, rule] of Object.entries(RECIPE_FIELDS)) {
    if (!('nullable' in rule && rule.nullable)) continue;
    const [group, field] = path.split('.') as [string, string];
    const parent = recipe[group];
    if (isObject(parent) && !(field in parent)) parent[field] = null;
  }
  return recipe;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

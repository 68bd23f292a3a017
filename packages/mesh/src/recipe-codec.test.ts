import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { RecipeSchema } from '@parley/contracts';
import { PAPER, RECIPE_FIELDS, PRESETS } from '@parley/pst';
import { recipeFromMessage, recipeToMessage } from './recipe-codec.js';

describe('the recipe on the wire', () => {
  for (const preset of Object.values(PRESETS)) {
    it(`carries every field of "${preset.preset}" there and back`, () => {
      const bytes = toBinary(RecipeSchema, recipeToMessage(preset));
      assert.deepEqual(recipeFromMessage(fromBinary(RecipeSchema, bytes), 3), preset);
    });
  }

  it('has a field for every field of the algorithm', () => {
    const nested = Object.fromEntries(
      RecipeSchema.fields.map((field) => [field.jsonName, field.message?.fields]),
    );
    for (const path of Object.keys(RECIPE_FIELDS)) {
      const [group, ...rest] = path.split('.');
      let fields = nested[group];
      assert.ok(group in nested, path);
      for (const name of rest) {
        const field = fields?.find((candidate) => candidate.jsonName === name);
        assert.ok(field, `${path} is missing in recipe.proto`);
        fields = field.message?.fields;
      }
    }
  });

  it('names every problem by its path', () => {
    const message = recipeToMessage(PAPER);
    message.order = 'sideways';
    message.rounds!.microBatch = 0;
    message.weight!.max = Number.NaN;
    assert.throws(
      () => recipeFromMessage(message, 3),
      (error: Error & { reason: string }) => {
        assert.equal(error.reason, 'RECIPE_INVALID');
        for (const path of ['order', 'rounds.microBatch', 'weight.max'])
          assert.ok(error.message.includes(path));
        return true;
      },
    );
    assert.throws(() => recipeFromMessage(create(RecipeSchema), 3), /generation\.context is missing/);
    assert.throws(() => recipeFromMessage(undefined, 3), /order is missing/);
  });
});

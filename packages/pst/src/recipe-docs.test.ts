import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { PRESETS, type Recipe } from './recipe.js';
import { RECIPE_FIELDS, type FieldRule } from './recipe-fields.js';

const WHOSE = { paper: 'paper', reported: 'readers', ours: 'ours' } as const;

function values(rule: FieldRule): string {
  if (rule.type === 'choice') return rule.values.join(', ');
  if (rule.type === 'list') return `list: ${rule.values.join(', ')}`;
  if (rule.type === 'boolean') return 'true, false';
  const low = rule.min === undefined ? '' : ` ${rule.above ? '>' : '≥'} ${rule.min}`;
  const high = rule.max === undefined ? '' : ` ${rule.below ? '<' : '≤'} ${rule.max}`;
  return `${rule.type}${low}${high}${rule.nullable ? ', null = off' : ''}`;
}

function valueAt(recipe: Recipe, path: string): string {
  const found = path.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], recipe);
  return JSON.stringify(found);
}

test('docs/recipes.md lists every field with its values, whose choice it is, and every preset', () => {
  const page = readFileSync(new URL('../../../docs/recipes.md', import.meta.url), 'utf8');
  const written = page.split('\n').filter((line) => line.startsWith('| `'));
  const expected = Object.entries(RECIPE_FIELDS).map(
    ([path, rule]) =>
      `| \`${path}\` | ${values(rule)} | ${WHOSE[rule.source]} | ${Object.values(PRESETS)
        .map((preset) => valueAt(preset, path))
        .join(' | ')} |`,
  );
  assert.deepEqual(written, expected);
});

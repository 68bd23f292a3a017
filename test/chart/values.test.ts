import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { CHART } from '../support/helm.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

interface Schema {
  $ref?: string;
  type?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  $defs?: Record<string, Schema>;
}

const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema;
const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;

function resolve(part: Schema): Schema {
  return part.$ref ? (schema.$defs?.[part.$ref.split('/').at(-1) ?? ''] ?? {}) : part;
}

/** Paths that the schema names, and those that values.yaml sets. */
function pathsOfSchema(part: Schema, path = ''): string[] {
  const { properties } = resolve(part);
  if (properties === undefined) return [path];
  return Object.entries(properties).flatMap(([key, child]) =>
    pathsOfSchema(child, path === '' ? key : `${path}.${key}`),
  );
}

function pathsOfValues(value: unknown, part: Schema, path = ''): string[] {
  const { properties } = resolve(part);
  const children = Object.entries(value ?? {});
  if (properties === undefined || typeof value !== 'object' || children.length === 0) return [path];
  return children.flatMap(([key, child]) =>
    pathsOfValues(child, properties[key] ?? {}, path === '' ? key : `${path}.${key}`),
  );
}

describe("the chart's values", () => {
  it('have a default each, and the schema knows each', () => {
    // Kubernetes and cert-manager define what these hold.
    const outer = (path: string) =>
      path.replace(/\.(?:(resources)\.(?:requests|limits|claims)|(issuerRef)\.\w+)$/, '.$1$2');
    const known = new Set(pathsOfSchema(schema).map(outer));
    const set = new Set(pathsOfValues(values, schema).map(outer));
    assert.deepEqual(
      [...known].filter((path) => !set.has(path)),
      [],
      'in the schema, not in values.yaml',
    );
    assert.deepEqual(
      [...set].filter((path) => !known.has(path)),
      [],
      'in values.yaml, not in the schema',
    );
  });

  it('are refused where the schema does not know them, at any depth', () => {
    const ajv = new Ajv({ strict: false });
    const valid = ajv.compile(schema);
    assert.ok(valid(values), JSON.stringify(valid.errors));
    const open: string[] = [];
    const walk = (part: Schema, path: string) => {
      const { type, properties, additionalProperties } = resolve(part);
      if (type === 'object' && properties && additionalProperties !== false) open.push(path);
      for (const [key, child] of Object.entries(properties ?? {})) walk(child, `${path}.${key}`);
    };
    walk(schema, '');
    // Helm itself puts values of other charts there.
    assert.deepEqual(open, ['.global']);
  });

  it('are all in the README, which is as the generator writes it, as are the permissions of NATS', () => {
    const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'helm/generate.mjs'), '--check'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
  });

  it('bring images of the version that everything else has', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    const chart = parse(read('helm/parley/Chart.yaml')) as { version: string; appVersion: string };
    assert.deepEqual([chart.version, chart.appVersion], [version, version]);
    const tags = read('deploy/compose/compose.yaml').match(/PARLEY_TAG:-([^}]+)/g) ?? [];
    assert.ok(tags.length >= 4);
    assert.ok(
      tags.every((tag) => tag === `PARLEY_TAG:-${version}`),
      tags.join(),
    );
  });
});

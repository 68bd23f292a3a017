import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'node:test';
import { COORDINATOR_FIELDS } from '@parley/coordinator';
import { FETCH_FIELDS, PEER_FIELDS } from '@parley/peer';
import { PMI_FIELDS } from '@parley/pmi';
import { PROCESS_FIELDS } from '@parley/runtime';
import type { Field } from '@parley/runtime';

type Fields = Readonly<Record<string, Field<unknown>>>;

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SERVICES: Readonly<Record<string, Fields>> = {
  Peer: { ...PROCESS_FIELDS, ...PEER_FIELDS },
  Coordinator: { ...PROCESS_FIELDS, ...COORDINATOR_FIELDS },
  pmi: { ...PROCESS_FIELDS, ...PMI_FIELDS },
  'Step before a peer': FETCH_FIELDS,
};
/** Section of the page by the services that have a setting in common. */
const SECTIONS: Readonly<Record<string, string>> = {
  'Peer, Coordinator, pmi': 'Every service',
  'Coordinator, pmi': 'Coordinator and pmi',
  'Peer, Step before a peer': 'Fetching models',
};

const page = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8');

function row(field: Field<unknown>): string {
  const { env, values, fallback, optional, source, description } = field;
  const name = source === 'file' ? `${env}_FILE` : env;
  const unset = optional ? 'unset' : 'required';
  const standard = fallback === undefined ? unset : `\`${field.format(fallback)}\``;
  return `| \`${name}\` | ${values} | ${standard} | ${description} |`;
}

/** Rows by section, in the order of the tables of fields. */
function expectedRows(): Record<string, string[]> {
  const owners = new Map<string, string[]>();
  for (const [service, fields] of Object.entries(SERVICES)) {
    for (const field of Object.values(fields))
      owners.set(row(field), [...(owners.get(row(field)) ?? []), service]);
  }
  const sections: Record<string, string[]> = {};
  for (const [line, services] of owners) {
    const common = services.join(', ');
    (sections[SECTIONS[common] ?? common] ??= []).push(line);
  }
  return sections;
}

function rowsOf(section: string): string[] {
  const [, text = ''] = page.split(`\n## ${section}\n`);
  const [own = ''] = text.split('\n## ');
  return own.split('\n').filter((line) => line.startsWith('| `'));
}

/** Sources of what is run, without the tests. */
function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => /(^|\/)(src\/.*\.ts|[^/]*\.mjs)$/.test(path))
    .filter((path) => !/node_modules|\/dist\/|\.test\.ts$|test-(support|child)|\/fixtures\//.test(path))
    .map((path) => join(ROOT, folder, path));
}

describe('docs/configuration.md', () => {
  for (const [section, rows] of Object.entries(expectedRows())) {
    it(`lists the settings of "${section}" with what they may hold, their default and their meaning`, () => {
      assert.deepEqual(rowsOf(section), rows);
    });
  }

  it('knows every variable of our own that a program reads', () => {
    const files = ['packages', 'services', 'deploy'].flatMap(sources);
    assert.ok(files.length > 100, 'the sources are where they are looked for');
    const names = files.flatMap((file) => readFileSync(file, 'utf8').match(/\bPARLEY(_[A-Z]+)+\b/g) ?? []);
    const missing = [...new Set(names)].filter((name) => !page.includes(name));
    assert.deepEqual(missing, []);
  });

  it('writes defaults that can be set as they are written', () => {
    for (const field of Object.values(SERVICES).flatMap((fields) => Object.values(fields))) {
      if (field.fallback !== undefined)
        assert.deepEqual(field.parse(field.format(field.fallback)), field.fallback, field.env);
    }
  });
});

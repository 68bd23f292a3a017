/**
 * Writes what the chart takes from elsewhere: the permissions of NATS from the code that they are for, and the table of
 * values in the README from the comments in values.yaml.
 *
 *   node helm/generate.mjs [--check]
 *
 * `--check` writes nothing and fails if anything would change.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMap, parseDocument } from 'yaml';
import { natsUsers, permissionsOf } from '@parley/bus';

const CHART = fileURLToPath(new URL('parley', import.meta.url));
/** A name that no subject holds by itself, in the place of a peer's. */
const ANY = 'ANY-PEER';

const outputs = {
  'files/nats-permissions.json': permissions(),
  'README.md': readme(),
};
const stale = Object.entries(outputs).filter(([file, text]) => read(file) !== text);
if (process.argv.includes('--check')) {
  for (const [file] of stale) console.error(`helm/parley/${file} is not what node helm/generate.mjs writes`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [file, text] of stale) writeFileSync(join(CHART, file), text);
}

function read(file) {
  const path = join(CHART, file);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

function permissions() {
  const peer = natsUsers([ANY]).find(({ user }) => user.startsWith(`${ANY}.`));
  const alone = permissionsOf({ role: 'pmi' }, []).publish;
  const pmiForPeer = permissionsOf({ role: 'pmi' }, [ANY]).publish.filter(
    (subject) => !alone.includes(subject),
  );
  const text = JSON.stringify({ users: natsUsers([]), peer, pmiForPeer }, null, 2);
  return `${text.replaceAll(ANY, '{peer}')}\n`;
}

function readme() {
  const sections = readSections();
  const table = sections.map(({ title, rows }) => `### ${title}\n\n${render(rows)}`).join('\n\n');
  return readFileSync(join(CHART, 'README.template.md'), 'utf8').replace('<!-- values -->', table);
}

/** Values by section, in the order of values.yaml: every one with a comment of its own, and of a map without one its parts. */
function readSections() {
  const document = parseDocument(readFileSync(join(CHART, 'values.yaml'), 'utf8'));
  const sections = [];
  const add = (map, path) => {
    map.items.forEach(({ key, value }, index) => {
      // What stands before the first key of a map belongs to the map.
      const comment = [
        index === 0 && path.length === 0 && document.commentBefore,
        index === 0 && map.commentBefore,
        key.commentBefore,
      ];
      const text = comment.filter(Boolean).join('\n');
      const title = /@section (.*)/.exec(text)?.[1];
      if (title !== undefined) sections.push({ title, rows: [] });
      const [, description] = /(?:^|\n) -- ([\s\S]*)/.exec(text) ?? [];
      const name = [...path, key.value];
      if (description === undefined && isMap(value)) return add(value, name);
      if (description === undefined) throw new Error(`values.yaml: ${name.join('.')} has no comment`);
      const meaning = description.replace(/\s*\n\s*/g, ' ').trim();
      sections.at(-1).rows.push([`\`${name.join('.')}\``, `\`${JSON.stringify(value.toJSON())}\``, meaning]);
    });
  };
  add(document.contents, []);
  return sections;
}

function render(rows) {
  const lines = rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
  return ['| Value | Default | Meaning |', '|---|---|---|', ...lines].join('\n');
}

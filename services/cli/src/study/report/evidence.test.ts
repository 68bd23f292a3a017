import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeReport } from './write-report.js';

const EVIDENCE = fileURLToPath(new URL('../../../../../docs/evidence/', import.meta.url));

test('the tables and charts of docs/evidence are what its results give', async (t) => {
  const results = (await readdir(EVIDENCE, { recursive: true })).filter((name) =>
    name.endsWith('cells.jsonl'),
  );
  assert.ok(results.length > 0);
  for (const cells of results) {
    const study = dirname(cells);
    const folder = await mkdtemp(join(tmpdir(), 'parley-evidence-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    await writeReport(join(EVIDENCE, cells), folder, { charts: true });
    const drawn = (await readdir(folder)).filter((name) => !name.endsWith('.png'));
    assert.ok(drawn.length > 1);
    for (const name of drawn) {
      const [given, shown] = await Promise.all(
        [folder, join(EVIDENCE, study)].map((at) => readFile(join(at, name), 'utf8')),
      );
      assert.equal(
        shown,
        given,
        `${study}/${name}: write it anew with \`parley study report docs/evidence/${cells} --to docs/evidence/${study}\``,
      );
    }
  }
});

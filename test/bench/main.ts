/**
 * `npm run bench`: what the engine and the mesh cost, beside their targets.
 *
 *   npm run bench -- [engine] [contention] [mesh] [--json]
 *
 * Without a name all run; the mesh's part runs the whole demo, which takes minutes. `--json` prints one object instead
 * of the table. The exit code says whether the measurement worked, not whether the targets were met.
 */
import { parseArgs } from 'node:util';
import { benchContention, renderContentionBench } from './contention.js';
import { benchConfig, benchDecode, benchTraining } from './engine.js';
import { benchMesh, renderMeshBench } from './mesh.js';
import { renderEngineBench } from './render-engine.js';

const parts = ['engine', 'contention', 'mesh'];
const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const unknown = positionals.find((part) => !parts.includes(part));
if (unknown !== undefined) {
  console.error(`There is no benchmark "${unknown}"; choose from ${parts.join(', ')}, or give none for all`);
  process.exit(2);
}
const wants = (part: string): boolean => positionals.length === 0 || positionals.includes(part);

const peerFolder = process.env['PARLEY_TRANSFORMERS_FOLDER'] ?? null;
const engine = wants('engine') ? await measureEngine() : undefined;
if (wants('contention')) console.error('Measuring three peers that train at once …');
const contention = wants('contention') ? await benchContention(benchConfig()) : undefined;
if (wants('mesh')) console.error('Running the demo to measure the mesh: minutes …');
const mesh = wants('mesh') ? await benchMesh() : undefined;

if (values.json) console.log(JSON.stringify({ engine, contention, mesh }));
else {
  const tables = [
    engine && renderEngineBench(engine),
    contention && renderContentionBench(contention),
    mesh && renderMeshBench(mesh),
  ];
  console.log(tables.filter((table) => table !== undefined).join('\n\n'));
}

async function measureEngine() {
  console.error('Measuring training and the matrix products it consists of …');
  const training = await benchTraining();
  console.error(`Measuring decoding${peerFolder === null ? '' : ' beside transformers.js'} …`);
  return { training, decode: await benchDecode(peerFolder) };
}

/**
 * `npm run bench`: what the engine and the mesh cost, beside their targets.
 *
 *   npm run bench -- [engine] [mesh] [--json]
 *
 * Without a name both run; the mesh's part runs the whole demo, which takes minutes. `--json` prints one object instead
 * of the table. The exit code says whether the measurement worked, not whether the targets were met.
 */
import { parseArgs } from 'node:util';
import { benchDecode, benchTraining } from './engine.js';
import { benchMesh, renderMeshBench } from './mesh.js';
import { renderEngineBench } from './render-engine.js';

const parts = ['engine', 'mesh'];
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
if (wants('mesh')) console.error('Running the demo to measure the mesh: minutes …');
const mesh = wants('mesh') ? await benchMesh() : undefined;

if (values.json) console.log(JSON.stringify({ engine, mesh }));
else {
  if (engine) console.log(renderEngineBench(engine));
  if (engine && mesh) console.log();
  if (mesh) console.log(renderMeshBench(mesh));
}

async function measureEngine() {
  console.error('Measuring training and the matrix products it consists of …');
  const training = await benchTraining();
  console.error(`Measuring decoding${peerFolder === null ? '' : ' beside transformers.js'} …`);
  return { training, decode: await benchDecode(peerFolder) };
}

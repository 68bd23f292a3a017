/** `node test/dist/bench/mesh-main.js [--json]`: the mesh's overhead alone. */
import { benchMesh, renderMeshBench } from './mesh.js';

const result = await benchMesh();
process.stdout.write(
  `${process.argv.includes('--json') ? JSON.stringify(result) : renderMeshBench(result)}\n`,
);

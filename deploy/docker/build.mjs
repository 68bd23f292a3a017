/**
 * Builds the images of Parley, named parley-<target>:<tag>:
 *
 *   node deploy/docker/build.mjs [--tag TAG] [--local] [target …]
 *
 * Targets are those of the Dockerfile; without any, the four that need no GPU. The tag is the version of package.json
 * unless given. `--local` first makes base images of this machine's Debian and Node, for where no image registry is
 * reachable. It imports nothing that is not in Node.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TARGETS = ['coordinator', 'pmi', 'cli', 'peer', 'peer-cuda'];
const DEFAULT_TARGETS = TARGETS.filter((target) => target !== 'peer-cuda');
const LOCAL_BASES = { BUILD_IMAGE: 'parley-local/build', RUNTIME_IMAGE: 'parley-local/runtime' };
const EXIT = { failure: 1, usage: 2, unavailable: 3 };

/** A failure that is told without a stack. */
class Stop extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

function main() {
  const { tag, local, targets } = readArguments();
  const builder = findBuilder();
  if (local) run('bash', [join(ROOT, 'deploy/docker/local-bases.sh')], { stdio: 'inherit' });
  const buildArguments = {
    VERSION: version(),
    REVISION: revision(),
    CREATED: new Date().toISOString(),
    ...(local && LOCAL_BASES),
  };
  for (const target of targets) {
    const image = `parley-${target}:${tag}`;
    const started = performance.now();
    build(builder, { image, target, buildArguments });
    const seconds = Math.round((performance.now() - started) / 1000);
    const bytes = Number(run('docker', ['image', 'inspect', '-f', '{{.Size}}', image]).stdout);
    console.log(`${image.padEnd(28)} ${Math.round(bytes / 1e6)} MB  ${seconds} s`);
  }
}

function readArguments() {
  const options = { tag: { type: 'string' }, local: { type: 'boolean', default: false } };
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const unknown = positionals.find((target) => !TARGETS.includes(target));
    if (unknown !== undefined) throw new Error(`there is no target "${unknown}", but ${TARGETS.join(', ')}`);
    const targets = positionals.length > 0 ? positionals : DEFAULT_TARGETS;
    return { tag: values.tag ?? version(), local: values.local, targets };
  } catch (error) {
    throw new Stop(EXIT.usage, `build: ${error.message}`);
  }
}

function version() {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version;
}

/** How this docker builds: BuildKit comes as the plugin buildx or inside a client before 23; else the old builder. */
function findBuilder() {
  const { status, stdout, stderr, error } = spawnSync(
    'docker',
    ['version', '-f', '{{.Client.Version}} {{.Server.Version}}'],
    { encoding: 'utf8' },
  );
  if (status !== 0) {
    const why = error?.code === 'ENOENT' ? 'it is not installed' : (error?.message ?? stderr.trim());
    throw new Stop(EXIT.unavailable, `docker does not answer: ${why}`);
  }
  const hasBuildx = spawnSync('docker', ['buildx', 'version']).status === 0;
  if (hasBuildx) return { command: ['buildx', 'build', '--load'], DOCKER_BUILDKIT: '1' };
  if (Number.parseInt(stdout) < 23) return { command: ['build'], DOCKER_BUILDKIT: '1' };
  // Without the flag, a step that fails leaves its container behind.
  return { command: ['build', '--force-rm'], DOCKER_BUILDKIT: '0' };
}

function build({ command, DOCKER_BUILDKIT }, { image, target, buildArguments }) {
  const pairs = Object.entries(buildArguments).flatMap(([name, value]) => [
    '--build-arg',
    `${name}=${value}`,
  ]);
  const file = join(ROOT, 'deploy/docker/Dockerfile');
  const args = [...command, '--file', file, '--target', target, '--tag', image, ...pairs, ROOT];
  run('docker', args, { env: { ...process.env, DOCKER_BUILDKIT } });
}

/** The commit; unknown outside a checkout. */
function revision() {
  const git = (...args) => spawnSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' });
  const head = git('rev-parse', 'HEAD');
  if (head.status !== 0) return 'unknown';
  return head.stdout.trim() + (git('status', '--porcelain').stdout === '' ? '' : '-dirty');
}

/** Runs a program; what it printed is shown only if it fails. */
function run(program, args, options = {}) {
  const result = spawnSync(program, args, { encoding: 'utf8', maxBuffer: Infinity, ...options });
  if (result.status === 0) return result;
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trimEnd();
  const why = result.error?.message ?? `exit code ${result.status ?? result.signal}`;
  throw new Stop(EXIT.failure, `${output}\n\nFailed: ${program} ${args.join(' ')} (${why})`.trimStart());
}

try {
  main();
} catch (error) {
  console.error(error instanceof Stop ? error.message : error.stack);
  process.exitCode = error.exitCode ?? EXIT.failure;
}

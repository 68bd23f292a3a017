/**
 * What `npm start`, `npm test`, `npm run bench`, `npm run bench:engine` and `npm run e2e` call, on a machine that has nothing
 * but Node: installs the locked dependencies if they are missing, builds what has changed, then runs the demo, the tests, a
 * benchmark or the tests on a cluster.
 *
 *   node deploy/bootstrap.mjs demo [options of `parley demo`]
 *   node deploy/bootstrap.mjs test [path …] [options of `node --test`]
 *   node deploy/bootstrap.mjs bench [options of the benchmark]
 *   node deploy/bootstrap.mjs bench:engine [options of test/bench/real-shapes]
 *   node deploy/bootstrap.mjs e2e [options of test/e2e/kubernetes]
 *
 * Its own words go to standard error; standard output is left to what it runs. It imports nothing that is not in Node.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { clearInterval, clearTimeout, setInterval, setTimeout } from 'node:timers';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OLDEST_NODE = [20, 19];
const EXIT = { failure: 1, usage: 2, unavailable: 3 };

/** What each command needs besides a build, and what it runs: the arguments of Node. */
const COMMANDS = {
  demo: async (args) => [join(ROOT, 'services/cli/dist/main.js'), 'demo', ...args],
  test: async (args) => {
    await findNatsServer();
    return testArguments(args);
  },
  bench: async (args) => {
    await findNatsServer();
    return [join(ROOT, 'test/dist/bench/main.js'), ...args];
  },
  'bench:engine': async (args) => [join(ROOT, 'test/dist/bench/real-shapes/main.js'), ...args],
  e2e: async (args) => [join(ROOT, 'test/dist/e2e/kubernetes/main.js'), ...args],
};

/** A failure that is told without a stack. */
class Stop extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

async function main([command, ...args]) {
  requireNode();
  const prepare = COMMANDS[command];
  if (!prepare) throw new Stop(EXIT.usage, `Say what to run: ${Object.keys(COMMANDS).join(', ')}`);
  await installDependencies();
  await build();
  return run(await prepare(args));
}

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [oldMajor, oldMinor] = OLDEST_NODE;
  if (major > oldMajor || (major === oldMajor && minor >= oldMinor)) return;
  throw new Stop(
    EXIT.unavailable,
    `Parley needs Node ${oldMajor}.${oldMinor} or newer; this is ${process.versions.node} (${process.execPath}). ` +
      'Get it from https://nodejs.org or with your version manager, for example `nvm install 22`.',
  );
}

async function installDependencies() {
  if (isInstalled()) return;
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  const flags = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  // Under npm, its own script is at hand; that also spares Windows the search for npm.cmd.
  const npm = process.env.npm_execpath;
  const [program, args] = npm?.endsWith('.js') ? [process.execPath, [npm, ...flags]] : ['npm', flags];
  await quietly('Installing dependencies', program, args, env);
}

/**
 * Whether node_modules holds what the lock file says. npm writes what it installed into a hidden lock file; comparing
 * the two, instead of keeping a stamp of our own, also trusts an `npm install` that somebody ran by hand.
 */
function isInstalled() {
  const installed = readPackages('node_modules/.package-lock.json');
  const wanted = readPackages('package-lock.json');
  return Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith('node_modules/')) return true;
    const found = installed[path];
    if (found === undefined) return entry.optional === true;
    return found.version === entry.version && Boolean(found.link) === Boolean(entry.link);
  });
}

function readPackages(file) {
  const path = join(ROOT, file);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')).packages ?? {}) : {};
}

async function build() {
  await quietly('Building', process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-b',
    '--pretty',
  ]);
}

async function findNatsServer() {
  const url = pathToFileURL(join(ROOT, 'packages/bus/dist/index.js'));
  const bus = await import(url.href);
  await bus.findNatsServer({ say: (line) => console.error(line) });
}

/** Node's own test runner over every compiled test whose source still exists, or those under the paths given. */
function testArguments(args) {
  const options = args.filter((arg) => arg.startsWith('-'));
  const filters = args.filter((arg) => !arg.startsWith('-')).map(normalPath);
  const all = ['packages', 'services', 'test'].flatMap((folder) => testFiles(join(ROOT, folder)));
  const chosen = all.filter(
    ({ source }) => filters.length === 0 || filters.some((path) => source.startsWith(path)),
  );
  if (chosen.length === 0) {
    throw new Stop(
      EXIT.usage,
      `No test lies under ${filters.join(', ') || ROOT}; name a folder or a *.test.ts file`,
    );
  }
  const runner = [
    '--test',
    '--test-concurrency=2',
    '--test-reporter=spec',
    '--enable-source-maps',
    ...options,
  ];
  return [...runner, ...chosen.map(({ compiled }) => compiled)];
}

/** `./packages/pst/`, `packages/pst/dist/x.test.js` and `packages/pst/src/x.test.ts` as sources relative to the root. */
function normalPath(path) {
  return sourceOf(
    relative(ROOT, join(process.env.INIT_CWD ?? process.cwd(), path))
      .split(sep)
      .join('/'),
  );
}

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : testFiles(path);
    const compiled = relative(ROOT, path).split(sep).join('/');
    if (!compiled.includes('/dist/') || !compiled.endsWith('.test.js')) return [];
    const source = sourceOf(compiled);
    return existsSync(join(ROOT, source)) ? [{ compiled, source }] : [];
  });
}

function sourceOf(path) {
  const folder = path.startsWith('test/') ? '/' : '/src/';
  return path.replace('/dist/', folder).replace(/\.js$/, '.ts');
}

/** Runs a program with one line of progress; its output is shown only if it fails. */
async function quietly(what, program, args, env = process.env) {
  const started = performance.now();
  const live = process.stderr.isTTY === true;
  const seconds = () => `${Math.round((performance.now() - started) / 1000)} s`;
  const show = () => process.stderr.write(`\r${what} … ${seconds()}`);
  const timer = live ? setInterval(show, 500) : undefined;
  const slow = live ? undefined : setTimeout(() => console.error(`${what} …`), 2000);
  const { code, output } = await collect(program, args, env);
  clearInterval(timer);
  clearTimeout(slow);
  if (live) process.stderr.write('\r\u001b[2K');
  if (code === 0) {
    if (performance.now() - started > 2000) console.error(`${what}: done in ${seconds()}`);
    return;
  }
  throw new Stop(
    EXIT.failure,
    `${output.trimEnd()}\n\n${what} failed: ${program} ${args.join(' ')} (exit code ${code})`,
  );
}

function collect(program, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const add = (chunk) => (output += chunk);
    child.stdout.on('data', add);
    child.stderr.on('data', add);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** Runs Node in the foreground. @returns its exit code */
function run(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      // Ctrl-C on a terminal reaches the child by itself; a second one would end it without cleaning up.
      process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)));
    }
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal === null ? code : EXIT.failure));
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Stop ? error.message : (error.stack ?? error));
  process.exitCode = error.exitCode ?? EXIT.failure;
}

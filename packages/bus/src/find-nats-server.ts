import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { ParleyError, verifyDigest, writeFileAtomic } from '@parley/runtime';
import type { Env } from '@parley/runtime';
import { NATS_RELEASE, fileFromTarGz, releasePlatform, releaseUrl } from './nats-release.js';
import type { NatsRelease } from './nats-release.js';
import { MIN_NATS_VERSION, isOlder } from './nats-version.js';

/** A nats-server program that is new enough. */
export interface NatsServerProgram {
  path: string;
  /** `2.11.8` */
  version: string;
}

/** Where to look, and what is allowed. The defaults are this machine's. */
export interface FindNatsServerOptions {
  /** `PATH`, `PARLEY_NATS_SERVER` (a program to use and no other), `PARLEY_CACHE` or `XDG_CACHE_HOME`. */
  env?: Env;
  signal?: AbortSignal;
  /** Told in a line, for people, what is being installed or downloaded. */
  say?: (line: string) => void;
  /** Folders searched besides `PATH`: Debian puts the program where a user's `PATH` does not look. */
  folders?: readonly string[];
  /** Whether a system package may be installed; as root unless given. */
  mayInstall?: boolean;
  release?: NatsRelease;
  /** `linux-amd64`; this machine's unless given. */
  platform?: string;
}

const FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin'];

/**
 * Finds a nats-server of at least {@link MIN_NATS_VERSION}: the one named by `PARLEY_NATS_SERVER`, on `PATH`, or in
 * the cache; else installs Debian's package where the user may; else downloads the pinned official release into the
 * cache, and accepts it only with the pinned SHA-256.
 *
 * @throws ParleyError NATS_NOT_FOUND saying what was tried and how to get one, NATS_TOO_OLD when the named one is
 */
export async function findNatsServer(options: FindNatsServerOptions = {}): Promise<NatsServerProgram> {
  const env = options.env ?? process.env;
  if (env['PARLEY_NATS_SERVER']) return namedProgram(env['PARLEY_NATS_SERVER']);
  const tried: string[] = [];
  const steps = [searchPath, searchCache, installDebianPackage, downloadRelease];
  for (const step of steps) {
    options.signal?.throwIfAborted();
    const found = await step({ ...DEFAULTS, ...options, env, tried: (why) => void tried.push(why) });
    if (found) return found;
  }
  const message = `No nats-server ${MIN_NATS_VERSION} or newer is on this machine, and none could be installed:\n${tried
    .map((line) => `  ${line}`)
    .join(
      '\n',
    )}\nInstall one (apt-get install nats-server, brew install nats-server, or https://github.com/nats-io/nats-server/releases) and put it on PATH, or set PARLEY_NATS_SERVER to its path.`;
  throw new ParleyError('NATS_NOT_FOUND', message);
}

type Search = Required<Omit<FindNatsServerOptions, 'signal'>> & {
  signal?: AbortSignal;
  /** Notes why a step found nothing. */
  tried: (why: string) => void;
};

const DEFAULTS = {
  say: () => undefined,
  folders: FOLDERS,
  mayInstall: process.getuid?.() === 0,
  release: NATS_RELEASE,
  platform: releasePlatform(process.platform, process.arch),
};

async function namedProgram(path: string): Promise<NatsServerProgram> {
  const version = await versionOf(path);
  if (version === undefined) {
    throw new ParleyError(
      'NATS_NOT_FOUND',
      `PARLEY_NATS_SERVER names ${path}, which does not run; mend or unset it`,
    );
  }
  if (!isOlder(version, MIN_NATS_VERSION)) return { path, version };
  const message = `PARLEY_NATS_SERVER names ${path}, which is version ${version}; ${MIN_NATS_VERSION} or newer is needed`;
  throw new ParleyError('NATS_TOO_OLD', message, {
    details: { path, found: version, needed: MIN_NATS_VERSION },
  });
}

async function searchPath({ env, folders, tried }: Search): Promise<NatsServerProgram | undefined> {
  const path = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  for (const folder of [...path, ...folders]) {
    const found = await usable(join(folder, 'nats-server'), tried);
    if (found) return found;
  }
  tried('PATH: no nats-server there that is new enough');
  return undefined;
}

async function searchCache(search: Search): Promise<NatsServerProgram | undefined> {
  return usable(cachedPath(search), search.tried);
}

function cachedPath({ env, release, platform }: Pick<Search, 'env' | 'release' | 'platform'>): string {
  const base =
    env['PARLEY_CACHE'] || join(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'parley');
  return join(base, `nats-server-v${release.version}-${platform}`, 'nats-server');
}

async function usable(path: string, tried: (why: string) => void): Promise<NatsServerProgram | undefined> {
  const version = await versionOf(path);
  if (version === undefined) return undefined;
  if (!isOlder(version, MIN_NATS_VERSION)) return { path, version };
  tried(`${path}: version ${version} is older than ${MIN_NATS_VERSION}`);
  return undefined;
}

const run = promisify(execFile);

/** The version a program reports, or `undefined` where it is not there or no nats-server. */
async function versionOf(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout } = await run(path, ['--version'], { timeout: 10_000 });
    return /v(\d+\.\d+\.\d+\S*)/.exec(stdout)?.[1];
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

async function installDebianPackage(search: Search): Promise<NatsServerProgram | undefined> {
  const { env, mayInstall, say, tried, signal } = search;
  const aptGet = await onPath(env, 'apt-get');
  if (aptGet === undefined) return undefined;
  if (!mayInstall) {
    tried('apt-get: only root may install packages');
    return undefined;
  }
  say('installing nats-server with apt-get');
  const options = {
    timeout: 300_000,
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    ...(signal && { signal }),
  };
  const install = () => run(aptGet, ['install', '-y', '--no-install-recommends', 'nats-server'], options);
  try {
    await install().catch(async () => {
      await run(aptGet, ['update'], options);
      await install();
    });
  } catch (error) {
    signal?.throwIfAborted();
    tried(`apt-get install nats-server: ${lastLine(error)}`);
    return undefined;
  }
  return searchPath(search);
}

async function onPath(env: Env, program: string): Promise<string | undefined> {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== '' && found) return path;
  }
  return undefined;
}

function lastLine(error: unknown): string {
  const text =
    error instanceof Error && 'stderr' in error ? String(error.stderr) || error.message : String(error);
  return text.trim().split('\n').at(-1) ?? '';
}

async function downloadRelease(search: Search): Promise<NatsServerProgram | undefined> {
  const { release, platform, say, tried } = search;
  const url = releaseUrl(release, platform);
  const digest = release.sha256[platform];
  if (digest === undefined) {
    tried(`download: no pinned release for ${platform}`);
    return undefined;
  }
  say(`downloading ${url}`);
  try {
    const archive = await download(url, search.signal);
    verifyDigest(archive, digest, url);
    const path = cachedPath(search);
    await writeFileAtomic(path, fileFromTarGz(archive, 'nats-server'));
    await chmod(path, 0o755);
    return await usable(path, tried);
  } catch (error) {
    search.signal?.throwIfAborted();
    if (error instanceof ParleyError && error.reason === 'DIGEST_MISMATCH') throw error;
    tried(`${url}: ${downloadFailure(error)}`);
    return undefined;
  }
}

const DOWNLOAD_TIMEOUT_MS = 180_000;

async function download(url: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS);
  const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** `fetch failed` says nothing; its cause says what did. */
function downloadFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

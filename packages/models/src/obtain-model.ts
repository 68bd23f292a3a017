import { join } from 'node:path';
import { ParleyError, sha256, withDeadline } from '@parley/runtime';
import type { BackoffOptions } from '@parley/runtime';
import type { FetchObserver } from './fetch-observer.js';
import { cachedSnapshot, fillCache, isFolder, repoLock } from './hub-cache.js';
import { listHubModel } from './hub.js';
import type { HubModel, HubOptions } from './hub.js';
import { readHubToken } from './hub-token.js';
import { listLocalFolder } from './local-folder.js';
import { withLockFile } from './lock-file.js';
import { cacheFolders } from './model-fields.js';
import type { ModelSettings } from './model-fields.js';
import { fillFolder, requireDigest } from './model-folder.js';
import { formatModelUri } from './model-uri.js';
import type { ModelUri } from './model-uri.js';
import { PATIENCE } from './persist.js';
import type { Transport } from './persist.js';
import type { RemoteModel } from './remote-model.js';
import { listS3Folder } from './s3.js';
import { listWebFolder } from './web-folder.js';

/** What fetching is given besides the settings. */
export interface ObtainOptions {
  observer: FetchObserver;
  signal?: AbortSignal;
  /** Asks the hub what the revision is now, in place of going on with what the cache has. */
  refresh?: boolean;
  /** How patiently connections are repeated; for tests. */
  patience?: { stallMs?: number; attempts?: number; backoff?: BackoffOptions };
}

/** A model on this machine. */
export interface ObtainedModel {
  folder: string;
  /** Of a model from a hub. */
  commit?: string;
}

/**
 * Makes a model lie on this machine: a folder is used where it is; a model of a hub comes into the cache that Hugging Face's
 * programs share, others into Parley's own. What a cache has is not asked for again, unless `refresh` says so of a hub.
 *
 * @throws ParleyError CONFIG_INVALID; CHECKPOINT_INVALID naming the file that is missing; MODEL_UNKNOWN, PERMISSION_DENIED and
 *   UNAUTHENTICATED with what to do; DIGEST_MISMATCH; MESSAGE_TOO_LARGE and DISK_FULL before anything is fetched;
 *   SERVICE_UNAVAILABLE; DEADLINE_EXCEEDED
 */
export async function obtainModel(
  uri: ModelUri,
  settings: ModelSettings,
  options: ObtainOptions,
): Promise<ObtainedModel> {
  const obtained = await withinDeadline(uri, settings, options, async (transport) => {
    if (uri.kind === 'folder') return { folder: uri.folder };
    if (uri.kind === 'hub') return obtainFromHub(uri, settings, options, transport);
    const name = formatModelUri(uri)
      .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
      .slice(0, 80);
    const folder = join(cacheFolders(settings).models, `${name}-${sha256(formatModelUri(uri)).slice(0, 8)}`);
    await bring(uri, folder, settings, options, transport);
    return { folder };
  });
  await requireDigest(obtained.folder, settings.modelSha256);
  return obtained;
}

/**
 * Copies a model from wherever it lies to a folder of its own, unless it is there already. @throws as {@link obtainModel}
 */
export async function copyModel(
  uri: ModelUri,
  target: string,
  settings: ModelSettings,
  options: ObtainOptions,
): Promise<void> {
  await withinDeadline(uri, settings, options, (transport) =>
    bring(uri, target, settings, options, transport),
  );
}

async function withinDeadline<T>(
  uri: ModelUri,
  { modelDeadlineMs: deadlineMs }: ModelSettings,
  { signal: outer, patience, observer }: ObtainOptions,
  work: (transport: Transport) => Promise<T>,
): Promise<T> {
  const what = `fetching ${formatModelUri(uri)} (PARLEY_MODEL_DEADLINE)`;
  const onRetry = (error: Error, delayMs: number) =>
    observer.notice(`${error.message}; trying again in ${(delayMs / 1000).toFixed(1)} s`);
  return withDeadline({ deadlineMs, what, ...(outer && { signal: outer }) }, (signal) =>
    work({ ...PATIENCE, ...patience, signal, onRetry }),
  );
}

async function obtainFromHub(
  uri: ModelUri & { kind: 'hub' },
  settings: ModelSettings,
  { refresh, observer }: ObtainOptions,
  transport: Transport,
): Promise<ObtainedModel> {
  const { repo, revision } = uri;
  const { hub: cache } = cacheFolders(settings);
  const cached = refresh && !settings.hfOffline ? undefined : await cachedSnapshot(cache, repo, revision);
  if (cached) return cached;
  return withLockFile(repoLock(cache, repo), lockOptions(uri, observer, transport), async () => {
    // Whoever had the lock may have fetched it.
    const arrived = refresh ? undefined : await cachedSnapshot(cache, repo, revision);
    if (arrived) return arrived;
    const model = await listHub(uri, settings, transport);
    return fillCache(cache, uri, model, { maxBytes: settings.modelMaxBytes, transport, observer });
  });
}

async function bring(
  uri: ModelUri,
  target: string,
  settings: ModelSettings,
  { observer }: ObtainOptions,
  transport: Transport,
): Promise<void> {
  const { modelSha256 } = settings;
  const isThere = async () => {
    if (!(await isFolder(target))) return false;
    await requireDigest(target, modelSha256);
    return true;
  };
  if (await isThere()) return;
  await withLockFile(`${target}.lock`, lockOptions(uri, observer, transport), async () => {
    if (await isThere()) return;
    const model = await list(uri, settings, transport);
    await fillFolder(target, model, modelSha256, { maxBytes: settings.modelMaxBytes, transport, observer });
  });
}

function lockOptions(uri: ModelUri, observer: FetchObserver, { signal }: Transport) {
  const onWait = () =>
    observer.notice(`${formatModelUri(uri)} is being fetched by another process; waiting for it`);
  return { signal, onWait };
}

async function list(uri: ModelUri, settings: ModelSettings, transport: Transport): Promise<RemoteModel> {
  switch (uri.kind) {
    case 'folder':
      return listLocalFolder(uri.folder);
    case 'hub':
      return listHub(uri, settings, transport);
    case 's3':
      return listS3Folder({ ...s3Options(settings), transport }, uri.bucket, uri.prefix);
    case 'web':
      requireSafe(uri.url, settings);
      return listWebFolder({ url: uri.url, token: settings.modelToken, transport });
  }
}

async function listHub(
  { repo, revision }: ModelUri & { kind: 'hub' },
  settings: ModelSettings,
  transport: Transport,
): Promise<HubModel> {
  const { hub: cache } = cacheFolders(settings);
  if (settings.hfOffline) {
    throw new ParleyError(
      'MODEL_UNKNOWN',
      `${repo} at ${revision} is not, or not whole, in the cache ${cache}, and HF_HUB_OFFLINE forbids to ask the hub. ` +
        'Fetch it where there is a network (parley pull), or unset HF_HUB_OFFLINE',
      { details: { repo, revision, cache } },
    );
  }
  return listHubModel(await hubOptions(settings, transport), repo, revision);
}

async function hubOptions(settings: ModelSettings, transport: Transport): Promise<HubOptions> {
  const { hfEndpoint, hfToken, hfTokenPath, modelToken } = settings;
  const token = await readHubToken({
    given:
      modelToken === undefined
        ? undefined
        : { value: modelToken, source: 'PARLEY_MODEL_TOKEN_FILE or --token-file' },
    environment: hfToken,
    file: { path: cacheFolders(settings).token, isNamed: hfTokenPath !== undefined },
  });
  const { protocol, hostname, origin } = new URL(hfEndpoint);
  if (token && protocol === 'http:' && !['localhost', '127.0.0.1', '[::1]'].includes(hostname)) {
    const message = `HF_ENDPOINT=${origin} would let anybody on the way read the token from ${token.source}: use https://, or give no token`;
    throw new ParleyError('CONFIG_INVALID', message);
  }
  return { endpoint: hfEndpoint.replace(/\/+$/, ''), token, transport };
}

function s3Options(settings: ModelSettings) {
  const {
    awsAccessKeyId: accessKeyId,
    awsSecretAccessKey: secretAccessKey,
    awsSessionToken: sessionToken,
  } = settings;
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    const message = 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: give both or none';
    throw new ParleyError('CONFIG_INVALID', message);
  }
  const credentials =
    accessKeyId === undefined || secretAccessKey === undefined
      ? undefined
      : { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
  return {
    endpoint: settings.awsEndpoint,
    region: settings.awsRegion ?? settings.awsDefaultRegion,
    credentials,
  };
}

function requireSafe(url: string, { modelSha256 }: ModelSettings): void {
  if (new URL(url).protocol !== 'http:' || modelSha256 !== undefined) return;
  throw new ParleyError(
    'CONFIG_INVALID',
    `${url} can be changed on its way: give PARLEY_MODEL_SHA256, or use https://`,
  );
}

import { mkdir, readFile, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Objm } from '@nats-io/obj';
import type { ObjectStore } from '@nats-io/obj';
import {
  ParleyError,
  sha256,
  systemCode,
  verifyDigest,
  withDeadline,
  writeFileAtomic,
} from '@parley/runtime';
import type { Bus } from './connect.js';
import { persist } from './persist.js';
import { BLOB_STORE } from './subjects.js';

/** Where a blob lies and what it is. Weights travel as this, never as bytes in a message. */
export interface BlobRef {
  /** `nats-object://<store>/<key>` or `file:///…/<key>`. */
  uri: string;
  /** SHA-256 in lower-case hexadecimal. */
  digest: string;
  bytes: number;
}

/** Reads blobs by reference. */
export interface BlobReader {
  /**
   * @param maxBytes - most that is read, whatever the store says of its size; without limit unless given
   * @throws ParleyError BLOB_MISSING naming the URI, DIGEST_MISMATCH naming both digests, MESSAGE_TOO_LARGE, BUS_UNAVAILABLE
   */
  get(uri: string, digest: string, maxBytes?: number): Promise<Uint8Array>;
}

/** Content that is written once and read by URI and digest. */
export interface BlobStore extends BlobReader {
  /** Start of the URIs this store gives. */
  readonly uriPrefix: string;
  /** Whether this store reads a URI. */
  reads(uri: string): boolean;
  /**
   * Stores bytes under a key of `[A-Za-z0-9._/-]`; durable when the promise resolves. The same key with the same
   * content is stored once; with other content it is replaced.
   */
  put(key: string, content: Uint8Array): Promise<BlobRef>;
}

/** Start of the URIs of all object stores of JetStream. */
const NATS_SCHEME = 'nats-object://';

/** How {@link natsBlobs} works. */
export interface NatsBlobsOptions {
  /** Name of the object store that is written; {@link BLOB_STORE} unless given. Any store is read. */
  store?: string;
  deadlineMs?: number;
}

/** Blobs in an object store of JetStream: the default, which needs no shared volume. */
export function natsBlobs(bus: Bus, options: NatsBlobsOptions = {}): BlobStore {
  const { deadlineMs = 60_000, store: own = BLOB_STORE } = options;
  const uriPrefix = `${NATS_SCHEME}${own}/`;
  const opened = new Map<string, ObjectStore>();
  const open = async (name: string): Promise<ObjectStore> => {
    const manager = new Objm(bus.js);
    const make = name === own && bus.makesTopology;
    const store = opened.get(name) ?? (await (make ? manager.create(name) : manager.open(name, false)));
    opened.set(name, store);
    return store;
  };
  const attempt = async <T>(
    what: string,
    name: string,
    work: (store: ObjectStore) => Promise<T>,
  ): Promise<T> =>
    persist({ what, deadlineMs }, (signal) =>
      withDeadline({ deadlineMs: deadlineMs / 3, what, signal }, async () => work(await open(name))),
    );
  return {
    uriPrefix,
    reads: (uri) => uri.startsWith(NATS_SCHEME),
    async put(key, content) {
      const name = checkKey(key);
      const ref = { uri: uriPrefix + name, digest: sha256(content), bytes: content.length };
      await attempt(`storing blob ${ref.uri}`, own, async (store) => {
        const found = await store.info(name);
        if (found && !found.deleted && found.digest === natsDigest(ref.digest) && found.size === ref.bytes)
          return;
        await store.putBlob({ name }, content);
      });
      return ref;
    },
    async get(uri, digest, maxBytes = Infinity) {
      const { store: from, key } = placeOf(uri);
      const bytes = await attempt(`reading blob ${uri}`, from, async (store) => {
        const found = await store.get(key);
        return found && (await collect(found.data, uri, maxBytes));
      });
      if (bytes === null) throw missing(uri);
      verifyDigest(bytes, digest, uri);
      return bytes;
    },
  };
}

/** The object store writes digests as `SHA-256=` and URL-safe base64 with padding (ADR-20). */
function natsDigest(hex: string): string {
  const base64 = Buffer.from(hex, 'hex').toString('base64');
  return `SHA-256=${base64.replaceAll('+', '-').replaceAll('/', '_')}`;
}

/** Blobs as files under a folder that every reader mounts at the same path. */
export function fileBlobs(folder: string): BlobStore {
  const root = resolve(folder);
  const uriPrefix = `${pathToFileURL(root).href}/`;
  return {
    uriPrefix,
    reads: (uri) => uri.startsWith(uriPrefix),
    async put(key, content) {
      const path = join(root, checkKey(key));
      const ref = { uri: pathToFileURL(path).href, digest: sha256(content), bytes: content.length };
      const found = await stat(path).catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      });
      if (found?.size === content.length && sha256(await readFile(path)) === ref.digest) return ref;
      await mkdir(root, { recursive: true });
      await writeFileAtomic(path, content);
      return ref;
    },
    async get(uri, digest, maxBytes = Infinity) {
      const path = fileURLToPath(uri);
      const inside = relative(root, path);
      if (inside.startsWith('..') || isAbsolute(inside)) {
        throw new ParleyError('BLOB_MISSING', `${uri} lies outside the blob folder ${root}`, {
          details: { uri },
        });
      }
      const absent = (error: unknown) => {
        throw systemCode(error) === 'ENOENT' ? missing(uri) : error;
      };
      const { size } = await stat(path).catch(absent);
      if (size > maxBytes) throw tooLarge(uri, maxBytes);
      const bytes = await readFile(path).catch(absent);
      verifyDigest(bytes, digest, uri);
      return bytes;
    },
  };
}

/** Writes to the first store, reads from whichever store's URIs match. */
export function anyBlobs(first: BlobStore, ...others: BlobStore[]): BlobStore {
  const stores = [first, ...others];
  return {
    uriPrefix: first.uriPrefix,
    reads: (uri) => stores.some((store) => store.reads(uri)),
    put: (key, content) => first.put(key, content),
    async get(uri, digest, maxBytes) {
      const store = stores.find((candidate) => candidate.reads(uri));
      if (store) return store.get(uri, digest, maxBytes);
      const known = stores.map(({ uriPrefix }) => uriPrefix).join(', ');
      throw new ParleyError('BLOB_MISSING', `No blob store here reads ${uri}; they read ${known}`, {
        details: { uri },
      });
    },
  };
}

/** What the store says of the size was said by whoever wrote it: what comes is counted. */
async function collect(data: ReadableStream<Uint8Array>, uri: string, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of data) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(uri, maxBytes);
    chunks.push(chunk);
  }
  const all = Buffer.concat(chunks);
  return new Uint8Array(all.buffer, all.byteOffset, all.length);
}

function tooLarge(uri: string, maxBytes: number): ParleyError {
  return new ParleyError(
    'MESSAGE_TOO_LARGE',
    `${uri} has more than the ${maxBytes} bytes that are read of it`,
    {
      details: { uri, maxBytes: String(maxBytes) },
    },
  );
}

function missing(uri: string): ParleyError {
  const message = `No blob lies at ${uri}; it was removed, or belongs to another store`;
  return new ParleyError('BLOB_MISSING', message, { details: { uri } });
}

/** Object store and key of a URI. */
function placeOf(uri: string): { store: string; key: string } {
  const [, store, key] = /^nats-object:\/\/([A-Za-z0-9_-]+)\/(.+)$/.exec(uri) ?? [];
  if (store !== undefined && key !== undefined) return { store, key };
  throw new ParleyError('BLOB_MISSING', `${uri} is in no object store of NATS`, { details: { uri } });
}

function checkKey(key: string): string {
  const parts = key.split('/');
  if (parts.every((part) => /^[A-Za-z0-9._-]+$/.test(part) && !/^\.+$/.test(part))) return key;
  throw new ParleyError('NAME_INVALID', `The blob key "${key}" is not of A-Z a-z 0-9 . _ - and / between`, {
    details: { key },
  });
}

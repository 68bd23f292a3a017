import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { answerWith } from './faults.js';
import type { FaultPlan } from './faults.js';
import { startTestServer } from './test-server.js';
import type { Exchange, TestServer } from './test-server.js';

/** A repository of a hub for tests. */
export interface HubRepo {
  files: ReadonlyMap<string, Buffer>;
  commit: string;
  /** Names of the commit; `main` unless given. */
  revisions?: readonly string[];
  /** Its files are given to those alone who show one of these tokens. */
  gatedFor?: readonly string[];
}

/** How a hub for tests answers. */
export interface HubServerOptions {
  repos: Readonly<Record<string, HubRepo>>;
  faults?: FaultPlan;
  /** Entries of the tree in one answer. */
  pageSize?: number;
}

/** A repository with the files of a folder. @param more - further files, or others in their place */
export async function repoOf(folder: string, more: Record<string, string | Buffer> = {}): Promise<HubRepo> {
  const files = new Map<string, Buffer>();
  for (const name of await readdir(folder)) files.set(name, await readFile(join(folder, name)));
  for (const [name, content] of Object.entries(more)) files.set(name, Buffer.from(content));
  const all = [...files].map(([name, content]) => `${name} ${digestsOf(name, content).etag}`).join('\n');
  return { files, commit: createHash('sha1').update(all).digest('hex') };
}

/** What the hub says of a file: LFS keeps safetensors and whatever is large, git the rest. */
function digestsOf(name: string, content: Buffer) {
  const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  const isLarge = /\.(safetensors|bin)$/.test(name);
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { isLarge, oid, sha256, etag: isLarge ? sha256 : oid };
}

/**
 * A server that speaks as huggingface.co does where models are fetched: model info, the tree in pages, `resolve` with a
 * redirection of large files to a store on another origin that takes no token, ranges, and refusals with X-Error-Code.
 */
export async function startHubServer(
  t: TestContext,
  options: HubServerOptions,
): Promise<TestServer & { store: TestServer }> {
  const { repos, faults = () => undefined, pageSize = 1000 } = options;
  const contents = new Map(
    Object.values(repos).flatMap(({ files }) =>
      [...files].map(([name, content]) => [digestsOf(name, content).sha256, content] as const),
    ),
  );
  const store = await startTestServer(t, faults, async ({ asked, url, response, fault }) => {
    const content = contents.get(url.pathname.slice(1));
    if (content === undefined || url.searchParams.get('signature') !== 'valid')
      return void response.writeHead(403).end();
    answerWith(response, content, asked, fault, { etag: '"of the store"' });
  });
  const hub = await startTestServer(t, faults, (exchange) => answer(exchange, repos, pageSize, store.url));
  return { ...hub, store };
}

async function answer(
  { asked, url, request, response, fault }: Exchange,
  repos: HubServerOptions['repos'],
  pageSize: number,
  store: string,
): Promise<void> {
  const refuse = (status: number, code: string, message: string) =>
    void response.writeHead(status, { 'x-error-code': code, 'x-error-message': message }).end(message);
  const json = (content: unknown, headers: Record<string, string> = {}) =>
    void response
      .writeHead(200, { 'content-type': 'application/json', ...headers })
      .end(JSON.stringify(content));
  const [, api, name = '', verb, revision = '', file = ''] =
    /^(\/api\/models)?\/([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^/]+)\/?(.*)$/.exec(url.pathname) ?? [];
  if (fault?.kind === 'status') return answerWith(response, Buffer.alloc(0), asked, fault, {});
  const token = /^Bearer (.*)$/.exec(asked.authorization ?? '')?.[1];
  if (token === 'hf_revoked') return refuse(401, '', 'Invalid credentials in Authorization header');
  const repo = repos[name];
  if (repo === undefined) return refuse(401, '', 'Invalid username or password.');
  const { files, commit, revisions = ['main'], gatedFor } = repo;
  const wanted = decodeURIComponent(revision);
  if (wanted !== commit && !revisions.includes(wanted))
    return refuse(404, 'RevisionNotFound', 'Invalid rev id');
  if (api !== undefined && verb === 'revision')
    return json({ _id: '1', id: name, sha: commit, gated: gatedFor ? 'manual' : false, siblings: [] });
  if (api !== undefined) {
    const entries = [...files].map(([path, content]) => treeEntry(path, content));
    const start = Number(url.searchParams.get('cursor') ?? 0);
    url.searchParams.set('cursor', String(start + pageSize));
    const next = `<http://${request.headers.host}${url.pathname}${url.search}>; rel="next"`;
    return json(
      entries.slice(start, start + pageSize),
      start + pageSize < entries.length ? { link: next } : {},
    );
  }
  const content = files.get(decodeURIComponent(file));
  if (gatedFor && (token === undefined || !gatedFor.includes(token)))
    return refuse(token === undefined ? 401 : 403, 'GatedRepo', `Access to model ${name} is restricted.`);
  if (content === undefined) return refuse(404, 'EntryNotFound', 'Entry not found');
  const { isLarge, etag, sha256 } = digestsOf(file, content);
  const headers = { 'x-repo-commit': commit, etag: `"${etag}"` };
  if (!isLarge) return answerWith(response, content, asked, fault, headers);
  const linked = { 'x-linked-etag': `"${etag}"`, 'x-linked-size': String(content.length) };
  return void response
    .writeHead(302, { ...headers, ...linked, location: `${store}/${sha256}?signature=valid` })
    .end();
}

function treeEntry(path: string, content: Buffer) {
  const { isLarge, oid, sha256 } = digestsOf(path, content);
  const size = content.length;
  return {
    type: 'file',
    path,
    size,
    oid,
    ...(isLarge && { lfs: { oid: sha256, size, pointerSize: 130 }, xetHash: sha256 }),
  };
}

import { listFiles, modelInfo } from '@huggingface/hub';
import { ParleyError } from '@parley/runtime';
import { interruption, send } from './http.js';
import { requireComplete, selectModelFiles } from './model-files.js';
import { Interruption, persist, watchForStall } from './persist.js';
import type { Transport } from './persist.js';
import type { RemoteFile, RemoteModel } from './remote-model.js';
import type { HubToken } from './hub-token.js';

/** A Hugging Face hub, or a mirror that speaks its protocol. */
export interface HubOptions {
  /** Without a slash at its end. */
  endpoint: string;
  token: HubToken | undefined;
  transport: Transport;
}

/** A model of a hub at one commit. */
export interface HubModel extends RemoteModel {
  readonly commit: string;
}

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * What a peer needs of a model: which commit a revision is, and its files with their sizes and digests, as the hub has them
 * in its tree (SHA-256 of what is in LFS or Xet, the git blob's SHA-1 of the rest).
 *
 * The API is spoken through `@huggingface/hub`. Contents are not: its downloads neither resume nor check digests.
 *
 * @throws ParleyError MODEL_UNKNOWN for a model or revision that is not there or not to be seen; PERMISSION_DENIED for a
 *   gated one, with what to do; UNAUTHENTICATED for a token the hub does not know; CHECKPOINT_INVALID naming what the
 *   repository lacks; SERVICE_UNAVAILABLE; REMOTE_FAILURE
 */
export async function listHubModel(hub: HubOptions, repo: string, revision: string): Promise<HubModel> {
  const { endpoint: hubUrl, transport } = hub;
  const explain = explainer(hub, repo, revision);
  const api = { hubUrl, fetch: apiFetch(hub, explain) };
  return persist(transport, async () => {
    try {
      const { sha: commit } = await modelInfo({ ...api, name: repo, revision, additionalFields: ['sha'] });
      if (!COMMIT.test(commit)) throw new TypeError(`"${commit}" is no commit`);
      const entries = new Map<string, Entry>();
      for await (const entry of listFiles({
        ...api,
        repo: { type: 'model', name: repo },
        revision: commit,
      })) {
        if (entry.type === 'file') entries.set(entry.path, entry);
      }
      const label = `hf://${repo}@${revision}`;
      requireComplete([...entries.keys()], label);
      const files = selectModelFiles([...entries.keys()])
        .map((name) => remoteFile(hub, { repo, commit, entry: entries.get(name) as Entry }, explain))
        .sort((one, other) => (one.size ?? 0) - (other.size ?? 0));
      return { label, commit, files };
    } catch (error) {
      if (error instanceof Interruption || error instanceof ParleyError || transport.signal.aborted)
        throw error;
      // What @huggingface/hub, which checks nothing, stumbles over.
      const message = `${hubUrl} does not answer as a hub does (HF_ENDPOINT): ${(error as Error).message}`;
      throw new ParleyError('REMOTE_FAILURE', message, { details: { endpoint: hubUrl }, cause: error });
    }
  });
}

interface Entry {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string; size: number };
}

function remoteFile(
  { endpoint, token }: HubOptions,
  { repo, commit, entry }: { repo: string; commit: string; entry: Entry },
  explain: Explain,
): RemoteFile {
  const { path: name, size, oid, lfs } = entry;
  const url = `${endpoint}/${repo}/resolve/${commit}/${encodeURIComponent(name)}`;
  const hex = lfs?.oid ?? oid;
  const isDigest = /^([0-9a-f]{64}|[0-9a-f]{40})$/.test(hex ?? '');
  if (hex === undefined || !isDigest || !Number.isSafeInteger(lfs?.size ?? size))
    throw new TypeError(`it gives no size and digest of ${name}`);
  return {
    name,
    url,
    size: lfs?.size ?? size,
    digest: { algorithm: hex.length === 64 ? 'sha256' : 'git-blob', hex },
    etag: undefined,
    open: ({ from, signal }) =>
      send({
        url,
        headers: from > 0 ? { range: `bytes=${from}-` } : {},
        authorization: token && `Bearer ${token.value}`,
        signal,
        explain,
      }),
  };
}

/** What `@huggingface/hub` asks with: the same redirections, refusals and limits as for contents. */
function apiFetch({ endpoint, token, transport }: HubOptions, explain: Explain): typeof fetch {
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    using watch = watchForStall(transport, url);
    const { signal } = watch;
    const headers = Object.fromEntries(new Headers(init?.headers));
    // The next page of a list is wherever the hub says.
    const isOwn = new URL(url).origin === new URL(endpoint).origin;
    const authorization = token && isOwn ? `Bearer ${token.value}` : undefined;
    const response = await send({ url, headers, authorization, signal, explain });
    try {
      return new Response(await response.arrayBuffer(), {
        status: response.status,
        headers: response.headers,
      });
    } catch (error) {
      throw interruption(url, error, signal);
    }
  };
}

type Explain = (response: Response, url: string) => Promise<ParleyError | undefined>;

/** The hub's refusals (headers X-Error-Code and X-Error-Message) in words, with the remedy. */
function explainer({ endpoint, token }: HubOptions, repo: string, revision: string): Explain {
  const details = { repo, revision };
  return async ({ status, headers }, url) => {
    const code = headers.get('x-error-code');
    const said = headers.get('x-error-message') ?? '';
    const quoted = said === '' ? '' : ` The hub says: "${said}"`;
    const page = `${endpoint}/${repo}`;
    if (code === 'GatedRepo')
      return new ParleyError('PERMISSION_DENIED', gated(page, repo, token) + quoted, { details });
    if (status === 401 && token !== undefined && /invalid (credentials|.*token)/i.test(said)) {
      const message = `The hub does not know the token from ${token.source}: it was mistyped, revoked or has expired. Make another at ${endpoint}/settings/tokens`;
      return new ParleyError('UNAUTHENTICATED', message, { details });
    }
    if (code === 'RevisionNotFound')
      return new ParleyError(
        'MODEL_UNKNOWN',
        `${repo} has no branch, tag or commit "${revision}": see ${page}/commits`,
        {
          details,
        },
      );
    if (code === 'EntryNotFound')
      return new ParleyError('CHECKPOINT_INVALID', `${url} is missing, although the hub lists it`, {
        details,
      });
    if (status === 403)
      return new ParleyError(
        'PERMISSION_DENIED',
        `The hub does not give out ${repo} (status 403).${quoted}`,
        { details },
      );
    // The hub answers with 401 for what does not exist, so as not to tell it from what is private.
    if (status !== 401 && status !== 404) return undefined;
    const seen =
      token === undefined
        ? 'or it is private and no token is given: set HF_TOKEN, or name a file that holds one (--token-file, HF_TOKEN_PATH)'
        : `or the token from ${token.source} may not see it`;
    return new ParleyError('MODEL_UNKNOWN', `${endpoint} has no model "${repo}", ${seen}.${quoted}`, {
      details,
    });
  };
}

function gated(page: string, repo: string, token: HubToken | undefined): string {
  if (token === undefined) {
    return (
      `${repo} is gated. Log in at ${page} and accept its terms, make a token that may read it at ` +
      `${new URL('/settings/tokens', page).href}, and give it with HF_TOKEN or in a file (--token-file, HF_TOKEN_PATH).`
    );
  }
  return (
    `${repo} is gated, and the account of the token from ${token.source} has no access. Accept its terms at ${page} with that ` +
    'account (some authors approve each request by hand), and let a fine-grained token read gated repositories.'
  );
}

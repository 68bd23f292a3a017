import { ParleyError } from '@parley/runtime';
import { Interruption } from './persist.js';

/** A request of the kind that fetches. */
export interface HttpRequest {
  url: string;
  method?: 'GET' | 'HEAD';
  /** What every server on the way may see. */
  headers?: Readonly<Record<string, string>>;
  /** For the origin of `url` alone: it never follows a redirection elsewhere. */
  authorization?: string | undefined;
  signal: AbortSignal;
  /** Why the server refuses; undefined leaves it to the status. The body is still unread. */
  explain?: (response: Response, url: string) => Promise<ParleyError | undefined>;
}

const MAX_REDIRECTIONS = 10;
const REDIRECTIONS = new Set([301, 302, 303, 307, 308]);
/** Timeout, too early, too many requests: they may pass. */
const PASSING = new Set([408, 425, 429]);

/**
 * Sends a request, through redirections.
 *
 * @returns an answer with status 200, 206 or 416
 * @throws Interruption for a broken connection and for what may pass (408, 425, 429, 5xx), with what Retry-After asks for;
 *   what `explain` gives; ParleyError PERMISSION_DENIED (401, 403), MODEL_UNKNOWN (404, 410), REMOTE_FAILURE for the rest,
 *   for redirections without end and for one from https to http; the signal's reason
 */
export async function send(request: HttpRequest): Promise<Response> {
  const { signal, explain } = request;
  let { url } = request;
  for (let hop = 0; hop <= MAX_REDIRECTIONS; hop++) {
    const response = await ask(url, request);
    if (response.ok || response.status === 416) return response;
    const target = REDIRECTIONS.has(response.status) ? response.headers.get('location') : null;
    if (target === null) throw await refusal(response, url, signal, explain);
    await response.body?.cancel();
    url = follow(url, target);
  }
  throw failure(
    request.url,
    `is redirected more than ${MAX_REDIRECTIONS} times, last to ${withoutQuery(url)}`,
  );
}

async function ask(url: string, { method = 'GET', headers, authorization, signal, url: first }: HttpRequest) {
  const isTrusted = new URL(url).origin === new URL(first).origin;
  const sent = {
    // Sizes and ranges count the bytes of the file, not those of a compressed form of it.
    'accept-encoding': 'identity',
    'user-agent': 'parley',
    ...headers,
    ...(authorization !== undefined && isTrusted && { authorization }),
  };
  try {
    return await fetch(url, { method, headers: sent, redirect: 'manual', signal });
  } catch (error) {
    throw interruption(url, error, signal);
  }
}

function follow(from: string, target: string): string {
  if (!URL.canParse(target, from)) throw failure(from, `redirects to "${target}", which is no URL`);
  const next = new URL(target, from);
  const isPlain = next.protocol === 'http:' && new URL(from).protocol === 'https:';
  if (isPlain || !['http:', 'https:'].includes(next.protocol))
    throw failure(from, `redirects to ${next.origin}, which anybody on the way could change`);
  return next.href;
}

async function refusal(
  response: Response,
  url: string,
  signal: AbortSignal,
  explain: HttpRequest['explain'],
): Promise<Error> {
  const { status } = response;
  const where = withoutQuery(url);
  try {
    if (PASSING.has(status) || status >= 500)
      return new Interruption(`${where} answers with status ${status}`, {
        retryAfterMs: retryAfterMs(response),
      });
    const explained = await explain?.(response, where);
    if (explained) return explained;
  } catch (error) {
    return interruption(url, error, signal);
  } finally {
    if (!response.bodyUsed) await response.body?.cancel();
  }
  const details = { url: where, status: String(status) };
  if (status === 404 || status === 410)
    return new ParleyError('MODEL_UNKNOWN', `${where} is not there (status ${status})`, { details });
  if (status === 401 || status === 403) {
    const message = `${where} answers with status ${status}: it takes a token (PARLEY_MODEL_TOKEN_FILE), or access to be granted`;
    return new ParleyError('PERMISSION_DENIED', message, { details });
  }
  return failure(url, `answers with status ${status}`);
}

/** Retry-After (RFC 9110): seconds or a date. */
function retryAfterMs(response: Response): number {
  const text = response.headers.get('retry-after') ?? '';
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return ms > 0 ? ms : 0;
}

/** What broke on the way, as something to repeat; the signal's reason where that ended it. */
export function interruption(url: string, thrown: unknown, signal: AbortSignal): Error {
  if (signal.aborted) return signal.reason as Error;
  if (thrown instanceof Interruption || thrown instanceof ParleyError) return thrown;
  // fetch says no more than "fetch failed" or "terminated"; why lies beneath.
  const { message, cause } = thrown as Error;
  const why = cause instanceof Error ? cause.message || cause.name : message;
  return new Interruption(`${withoutQuery(url)} could not be read: ${why}`, { cause: thrown });
}

function failure(url: string, what: string): ParleyError {
  const where = withoutQuery(url);
  return new ParleyError('REMOTE_FAILURE', `${where} ${what}`, { details: { url: where } });
}

/** Without what may hold a signature. */
export function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

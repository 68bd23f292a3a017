import { readFileSync, statSync } from 'node:fs';
import { ParleyError, sha256 } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import type { AccessRole, Caller, TokenVerifier } from './caller.js';

/** A token that can be guessed is none. */
const MIN_TOKEN_CHARS = 16;

/**
 * Tokens from a file, a line each: a name, a role (viewer or operator) and the token, with white space between; `#` begins
 * a comment. The file is read again when it changes, so that tokens come and go without a restart.
 *
 * @throws ParleyError CONFIG_INVALID naming the file and the line, never the token
 */
export function staticTokens(path: string, log: Log): TokenVerifier {
  let known = read(path);
  let changed = changeOf(path);
  const refresh = () => {
    try {
      const now = changeOf(path);
      if (now === changed) return;
      [known, changed] = [read(path), now];
      log.info({ path, tokens: known.size }, 'tokens were replaced');
    } catch (error) {
      log.warn({ err: error }, 'tokens cannot be read again; going on with those read before');
    }
  };
  return async (token) => {
    refresh();
    // Looked up by digest: how long it takes says nothing about any token.
    return known.get(sha256(token));
  };
}

/** A mounted secret is replaced by a link to another file. */
function changeOf(path: string): string {
  const { mtimeMs, ino, size } = statSync(path);
  return `${mtimeMs} ${ino} ${size}`;
}

function read(path: string): Map<string, Caller> {
  const refuse = (what: string, cause?: unknown) =>
    new ParleyError('CONFIG_INVALID', `PARLEY_TOKENS_FILE: ${path} ${what}`, { details: { path }, cause });
  const known = new Map<string, Caller>();
  for (const [index, line] of readText(path, refuse).split('\n').entries()) {
    const text = line.replace(/(^|\s)#.*/, '').trim();
    if (text === '') continue;
    const [name = '', role = '', token = '', ...rest] = text.split(/\s+/);
    const at = `line ${index + 1}`;
    if (token === '' || rest.length > 0) throw refuse(`${at} is not "NAME ROLE TOKEN"`);
    if (!isRole(role)) throw refuse(`${at} gives ${name} the role "${role}"; it is viewer or operator`);
    if (token.length < MIN_TOKEN_CHARS)
      throw refuse(`${at} has a token of ${token.length} characters; at least ${MIN_TOKEN_CHARS} are needed`);
    if (known.has(sha256(token))) throw refuse(`${at} has the token of an earlier line`);
    known.set(sha256(token), { name, role });
  }
  if (known.size === 0) throw refuse('holds no token');
  return known;
}

function readText(path: string, refuse: (what: string, cause: unknown) => ParleyError): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw refuse(`cannot be read: ${(error as Error).message}`, error);
  }
}

function isRole(text: string): text is AccessRole {
  return text === 'viewer' || text === 'operator';
}

import { readFileSync } from 'node:fs';
import { credentials as grpcCredentials } from '@grpc/grpc-js';
import type { ChannelCredentials } from '@grpc/grpc-js';
import { ParleyError, TLS_FIELDS, createSilentLog, openTls, readConfig } from '@parley/runtime';
import type { Env } from '@parley/runtime';

/** How a service is spoken to: in which words of its address, and with what. */
export interface Access {
  /** host:port. */
  address: string;
  /** Plain text unless there are any. */
  credentials?: ChannelCredentials;
  /** Headers of every call. */
  headers?: () => Record<string, string>;
}

/**
 * How to reach the coordinator at an address as a user writes it: `host:port`, `http://host:port` or `https://host:port`.
 *
 * - `PARLEY_TLS_CA_FILE` turns TLS on and says who may sign the coordinator's certificate; `https://` alone takes the
 *   authorities that Node knows. With `PARLEY_TLS_CERT_FILE` and `PARLEY_TLS_KEY_FILE` the caller shows its own.
 * - `PARLEY_TOKEN_FILE` names a file that holds a bearer token. It is read again for every call, and sent over TLS or on
 *   this machine alone.
 *
 * @throws ParleyError CONFIG_INVALID naming what is wrong
 */
export function coordinatorAccess(text: string, env: Env): Access {
  const [, scheme, address = text] = /^(https?):\/\/([^/]+)\/?$/.exec(text) ?? [];
  const credentials = scheme === 'http' ? undefined : tlsCredentials(env, scheme === 'https');
  const tokenFile = env['PARLEY_TOKEN_FILE'];
  if (!tokenFile) return { address, ...(credentials && { credentials }) };
  if (!credentials && !isLoopback(address)) {
    throw new ParleyError(
      'CONFIG_INVALID',
      `PARLEY_TOKEN_FILE: the token would travel to ${address} in plain text. Say https://${address}, or set PARLEY_TLS_CA_FILE`,
    );
  }
  readToken(tokenFile);
  const headers = () => ({ authorization: `Bearer ${readToken(tokenFile)}` });
  return { address, headers, ...(credentials && { credentials }) };
}

/** How to reach peers: with a certificate of the mesh, or in plain text. @throws ParleyError CONFIG_INVALID */
export function peerCredentials(env: Env): ChannelCredentials | undefined {
  return openTls(readConfig(env, TLS_FIELDS), { log: createSilentLog() })?.client();
}

function tlsCredentials(env: Env, wanted: boolean): ChannelCredentials | undefined {
  const { PARLEY_TLS_CA_FILE: ca, PARLEY_TLS_CERT_FILE: cert, PARLEY_TLS_KEY_FILE: key } = env;
  if (cert || key) return peerCredentials(env);
  if (ca) return grpcCredentials.createSsl(readFile('PARLEY_TLS_CA_FILE', ca));
  return wanted ? grpcCredentials.createSsl() : undefined;
}

function readToken(path: string): string {
  const token = readFile('PARLEY_TOKEN_FILE', path).toString('utf8').trim();
  if (token !== '' && !/\s/.test(token)) return token;
  throw new ParleyError(
    'CONFIG_INVALID',
    `PARLEY_TOKEN_FILE: ${path} does not hold one token and nothing else`,
  );
}

function readFile(variable: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const message = `${variable}: cannot read ${path}: ${(error as Error).message}`;
    throw new ParleyError('CONFIG_INVALID', message, { cause: error });
  }
}

function isLoopback(address: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]):\d+$/.test(address);
}

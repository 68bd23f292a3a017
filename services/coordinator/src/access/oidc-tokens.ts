import { createRemoteJWKSet, errors, jwtVerify } from 'jose';
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { ParleyError } from '@parley/runtime';
import type { Caller, TokenVerifier } from './caller.js';

/** Whose tokens are taken, and what they say about roles. */
export interface OidcOptions {
  /** URL of the issuer; its keys are found by OpenID Connect Discovery. */
  issuer: string;
  /** What `aud` must hold. */
  audience: string;
  /** Name of the claim that holds a text or a list of texts, such as `groups`. */
  roleClaim: string;
  /** Values of the claim that make an operator, and those that make a viewer. */
  operators: readonly string[];
  viewers: readonly string[];
}

/** Symmetric algorithms are not among them: a public key must never pass as a secret. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const DISCOVERY_DEADLINE_MS = 5000;
const CLOCK_TOLERANCE_S = 30;

/**
 * Signed tokens (JWT, RFC 7519) of an OpenID Connect issuer. Keys are fetched when they are needed and kept while they are
 * good, so that neither the start nor every call depends on the issuer.
 *
 * @returns a verifier that throws ParleyError UNAUTHENTICATED for a token that is expired, forged or for somebody else,
 *   PERMISSION_DENIED for one without a role here, SERVICE_UNAVAILABLE where the issuer does not answer
 */
export function oidcTokens(options: OidcOptions): TokenVerifier {
  const { issuer, audience } = options;
  let keys: Promise<JWTVerifyGetKey> | undefined;
  const findKeys = async (): Promise<JWTVerifyGetKey> => {
    keys ??= discover(issuer);
    try {
      return await keys;
    } catch (error) {
      keys = undefined;
      throw error;
    }
  };
  return async (token) => {
    if (token.split('.').length !== 3) return undefined;
    const getKey = await findKeys();
    try {
      const { payload } = await jwtVerify(token, getKey, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ['exp', 'sub'],
      });
      return callerOf(payload, options);
    } catch (error) {
      throw explain(error, issuer);
    }
  };
}

async function discover(issuer: string): Promise<JWTVerifyGetKey> {
  const url = `${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(DISCOVERY_DEADLINE_MS) });
    if (!response.ok) throw new Error(`it answers with status ${response.status}`);
    const { issuer: named, jwks_uri: jwks } = (await response.json()) as {
      issuer?: string;
      jwks_uri?: string;
    };
    if (named !== issuer) throw new Error(`it calls itself ${named}, not ${issuer}`);
    if (jwks === undefined) throw new Error('it names no jwks_uri');
    return createRemoteJWKSet(new URL(jwks), { timeoutDuration: DISCOVERY_DEADLINE_MS });
  } catch (error) {
    throw unavailable(url, error);
  }
}

function callerOf(payload: JWTPayload, { roleClaim, operators, viewers }: OidcOptions): Caller {
  const values = [payload[roleClaim] ?? []].flat().map(String);
  const name = payload.sub ?? '';
  if (values.some((value) => operators.includes(value))) return { name, role: 'operator' };
  if (values.some((value) => viewers.includes(value))) return { name, role: 'viewer' };
  const wanted = [...operators, ...viewers].join(', ');
  const message = `The token of ${name} has no role here: its claim "${roleClaim}" holds none of ${wanted}`;
  throw new ParleyError('PERMISSION_DENIED', message);
}

function explain(error: unknown, issuer: string): unknown {
  if (error instanceof ParleyError) return error;
  if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError))
    return unavailable(issuer, error);
  const why = error instanceof errors.JWTExpired ? 'it has expired' : error.message;
  return new ParleyError('UNAUTHENTICATED', `The token is not valid: ${why}; get a new one from ${issuer}`, {
    cause: error,
  });
}

function unavailable(url: string, cause: unknown): ParleyError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ParleyError('SERVICE_UNAVAILABLE', `Tokens cannot be verified: ${url} is of no use: ${why}`, {
    cause,
  });
}

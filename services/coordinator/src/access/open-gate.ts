import { ParleyError } from '@parley/runtime';
import type { Authorize, Log, Tls } from '@parley/runtime';
import type { CoordinatorConfig } from '../config.js';
import { createAccessGate } from './access-gate.js';
import { oidcTokens } from './oidc-tokens.js';
import { staticTokens } from './static-tokens.js';

/** What the gate of a coordinator is made with, beside its configuration. */
export interface GateParts {
  tls: Tls | undefined;
  log: Log;
  onDenied: (reason: string) => void;
}

/**
 * The gate that a configuration asks for.
 *
 * @throws ParleyError CONFIG_INVALID for settings that contradict each other, for a tokens file that cannot be read, and
 *   for a coordinator that would let everybody in from other machines without having been told to
 */
export function openGate(config: CoordinatorConfig, { tls, log, onDenied }: GateParts): Authorize {
  const { tokensFile, oidcIssuer, oidcAudience, oidcRoleClaim, oidcOperators, oidcViewers, auth, listen } =
    config;
  if (oidcIssuer !== undefined && oidcAudience === undefined) {
    throw new ParleyError(
      'CONFIG_INVALID',
      'PARLEY_OIDC_ISSUER needs PARLEY_OIDC_AUDIENCE: whom its tokens are for',
    );
  }
  const verifiers = [
    ...(tokensFile === undefined ? [] : [staticTokens(tokensFile, log)]),
    ...(oidcIssuer === undefined || oidcAudience === undefined
      ? []
      : [
          oidcTokens({
            issuer: oidcIssuer,
            audience: oidcAudience,
            roleClaim: oidcRoleClaim,
            operators: oidcOperators,
            viewers: oidcViewers,
          }),
        ]),
  ];
  if (auth === 'none' && verifiers.length > 0) {
    throw new ParleyError(
      'CONFIG_INVALID',
      'PARLEY_AUTH=none contradicts PARLEY_TOKENS_FILE and PARLEY_OIDC_ISSUER',
    );
  }
  const certificates = tls !== undefined && auth !== 'none';
  if (verifiers.length === 0 && !certificates && auth !== 'none' && !isLoopback(listen.host)) {
    throw new ParleyError(
      'CONFIG_INVALID',
      `The coordinator would obey everybody who reaches ${listen.host}:${listen.port}. Give it PARLEY_TOKENS_FILE or ` +
        'PARLEY_OIDC_ISSUER, or certificates (PARLEY_TLS_CA_FILE, …), or say PARLEY_AUTH=none',
    );
  }
  return createAccessGate({ verifiers, certificates, callsPerMinute: config.callsPerMinute, onDenied });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

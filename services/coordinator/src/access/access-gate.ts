import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { CoordinatorService } from '@parley/contracts';
import { ParleyError, identityName, identityOf, isParleyError } from '@parley/runtime';
import type { Authorize, CallFacts } from '@parley/runtime';
import type { AccessRole, Caller, TokenVerifier } from './caller.js';

/** The least role that each method asks for. */
export const ACCESS_POLICY: { readonly [K in keyof (typeof CoordinatorService)['method']]: AccessRole } = {
  createRun: 'operator',
  getRun: 'viewer',
  listRuns: 'viewer',
  watchRun: 'viewer',
  submitPrompts: 'operator',
  pauseRun: 'operator',
  resumeRun: 'operator',
  stopRun: 'operator',
  listPeers: 'viewer',
};

/** How callers are told apart and held back. */
export interface AccessGateOptions {
  /** Asked in turn for a bearer token; none, and no certificates either: everybody may do everything. */
  verifiers: readonly TokenVerifier[];
  /** Whether callers may show a certificate of the mesh instead. */
  certificates: boolean;
  /** Calls that one caller may make in a minute. */
  callsPerMinute: number;
  /** Told of every call that is refused. */
  onDenied: (reason: string) => void;
}

/** Attempts with no or a wrong token from one address. */
const FAILURES_PER_MINUTE = 30;

/** Lets calls of the coordinator through by who makes them, and no more than so many a minute of each. */
export function createAccessGate(options: AccessGateOptions): Authorize {
  const { verifiers, certificates, callsPerMinute, onDenied } = options;
  const calls = new RateLimiterMemory({ points: callsPerMinute, duration: 60 });
  const failures = new RateLimiterMemory({ points: FAILURES_PER_MINUTE, duration: 60 });
  const needed = new Map(
    CoordinatorService.methods.map(({ name, localName }) => [
      `${CoordinatorService.typeName}/${name}`,
      ACCESS_POLICY[localName as keyof typeof ACCESS_POLICY],
    ]),
  );
  const open = verifiers.length === 0 && !certificates;

  /** Guessing is not free: an address that has failed too often is not even listened to. */
  const identifySparingly = async (call: CallFacts): Promise<Caller> => {
    const address = addressOf(call);
    const before = await failures.get(address);
    if (before !== null && before.consumedPoints >= FAILURES_PER_MINUTE)
      throw limited(before, 'failed attempts');
    try {
      return await identify(call, verifiers);
    } catch (error) {
      if (isParleyError(error, 'UNAUTHENTICATED')) await failures.penalty(address);
      throw error;
    }
  };
  const authorize: Authorize = async (call) => {
    if (open) {
      await limit(calls, addressOf(call));
      return '';
    }
    const caller = await identifySparingly(call);
    await limit(calls, caller.name);
    if (caller.role === 'operator' || needed.get(call.method) === 'viewer') return caller.name;
    throw new ParleyError(
      'PERMISSION_DENIED',
      `${caller.name} is a viewer and may not call ${call.method}; that takes an operator`,
    );
  };
  return async (call) => {
    try {
      return await authorize(call);
    } catch (error) {
      onDenied(ParleyError.from(error).reason);
      throw error;
    }
  };
}

async function identify(call: CallFacts, verifiers: readonly TokenVerifier[]): Promise<Caller> {
  const { certificate, metadata, method } = call;
  const identity = certificate && identityOf(certificate);
  if (identity?.role === 'operator') return { name: identityName(identity), role: 'operator' };
  const [, token] = /^Bearer\s+(\S+)$/i.exec(metadata.get('authorization')[0]?.toString() ?? '') ?? [];
  if (token === undefined) {
    throw new ParleyError(
      'UNAUTHENTICATED',
      `${method} needs a token: "authorization: Bearer …" (for the command line, PARLEY_TOKEN_FILE)`,
    );
  }
  for (const verify of verifiers) {
    const caller = await verify(token);
    if (caller) return caller;
  }
  throw new ParleyError('UNAUTHENTICATED', 'The token is not known here; it may have been revoked');
}

/** Without the port, which every connection has another of. */
function addressOf({ caller }: CallFacts): string {
  return caller.replace(/:\d+$/, '');
}

async function limit(limiter: RateLimiterMemory, key: string): Promise<void> {
  try {
    await limiter.consume(key);
  } catch (error) {
    if (!(error instanceof RateLimiterRes)) throw error;
    throw limited(error, 'calls (PARLEY_RATE_LIMIT)');
  }
}

function limited({ msBeforeNext }: RateLimiterRes, what: string): ParleyError {
  const seconds = String(Math.ceil(msBeforeNext / 1000));
  return new ParleyError('RATE_LIMITED', `Too many ${what} in a minute; try again in ${seconds} s`, {
    details: { retry_after_seconds: seconds },
  });
}

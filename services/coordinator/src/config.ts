import { BUS_FIELDS } from '@parley/bus';
import { PEER_TIMING_FIELDS } from '@parley/mesh';
import { TLS_FIELDS, field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

/** Settings of the coordinator, one environment variable each. */
export const COORDINATOR_FIELDS = {
  listen: field.listen('PARLEY_LISTEN', {
    description: 'host:port to serve gRPC on; port 0 takes a free one',
    fallback: { host: '127.0.0.1', port: 7400 },
  }),
  ...BUS_FIELDS,
  ...TLS_FIELDS,
  ...PEER_TIMING_FIELDS,
  leaseMs: field.durationMs('PARLEY_LEASE', {
    description:
      'time after which another coordinator takes over the runs of one that is gone; counts where NATS has no leases yet',
    fallback: 10_000,
    min: 500,
  }),
  auth: field.oneOf('PARLEY_AUTH', ['required', 'none'], {
    description:
      'none lets everybody who reaches the port do everything; on loopback that holds as long as no other way is given',
    fallback: 'required',
  }),
  tokensFile: field.optional(
    field.path('PARLEY_TOKENS_FILE', {
      description:
        'bearer tokens, a line each: NAME ROLE TOKEN, with a role of viewer or operator; read again when it changes',
    }),
  ),
  oidcIssuer: field.optional(
    field.url('PARLEY_OIDC_ISSUER', {
      description: 'OpenID Connect issuer whose tokens are taken',
      protocols: ['https:', 'http:'],
    }),
  ),
  oidcAudience: field.optional(
    field.string('PARLEY_OIDC_AUDIENCE', { description: 'audience that those tokens must be for' }),
  ),
  oidcRoleClaim: field.string('PARLEY_OIDC_ROLE_CLAIM', {
    description: 'claim that decides on the role: a text or a list of texts',
    fallback: 'groups',
  }),
  oidcOperators: field.list(
    field.string('PARLEY_OIDC_OPERATORS', { description: 'values of the claim that make an operator' }),
    { fallback: ['parley-operator'] },
  ),
  oidcViewers: field.list(
    field.string('PARLEY_OIDC_VIEWERS', { description: 'values of the claim that make a viewer' }),
    { fallback: ['parley-viewer'] },
  ),
  callsPerMinute: field.integer('PARLEY_RATE_LIMIT', {
    description: 'calls that one caller may make in a minute',
    fallback: 1200,
    min: 1,
  }),
};

/** What {@link COORDINATOR_FIELDS} are read into. */
export type CoordinatorConfig = ConfigOf<typeof COORDINATOR_FIELDS>;

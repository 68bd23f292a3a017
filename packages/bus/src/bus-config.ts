import { readFileSync } from 'node:fs';
import type { TlsOptions } from '@nats-io/transport-node';
import { ParleyError, field } from '@parley/runtime';
import type { ConfigOf, Identity, Log, Registry } from '@parley/runtime';
import type { Bus, BusAuth, BusOptions } from './connect.js';
import { awaitTopology, ensureTopology } from './topology.js';
import type { TopologyOptions } from './topology.js';

/** The environment variables by which every service finds NATS; spread them into its own fields. */
export const BUS_FIELDS = {
  natsUrl: field.string('PARLEY_NATS_URL', {
    description: 'address of nats-server; several of one cluster separated by commas',
    fallback: 'nats://127.0.0.1:4222',
  }),
  natsCredentials: field.optional(
    field.path('PARLEY_NATS_CREDENTIALS_FILE', { description: 'NATS credentials file (.creds)' }),
  ),
  natsUser: field.optional(
    field.string('PARLEY_NATS_USER', { description: 'NATS user, with a password file' }),
  ),
  natsPassword: field.optional(
    field.secret('PARLEY_NATS_PASSWORD', { description: 'password of the NATS user' }),
  ),
  natsToken: field.optional(field.secret('PARLEY_NATS_TOKEN', { description: 'NATS token' })),
  natsCa: field.optional(
    field.path('PARLEY_NATS_CA_FILE', { description: 'certificates that may sign the server; turns TLS on' }),
  ),
  natsCert: field.optional(
    field.path('PARLEY_NATS_CERT_FILE', {
      description: 'certificate chain (PEM) to log in with; read again at every connect',
    }),
  ),
  natsKey: field.optional(
    field.path('PARLEY_NATS_KEY_FILE', { description: 'private key (PEM) of that certificate' }),
  ),
  natsConnectTimeoutMs: field.durationMs('PARLEY_NATS_CONNECT_TIMEOUT', {
    description:
      'longest wait at the start for nats-server, and for the access and the streams that others make',
    fallback: 10_000,
    min: 100,
  }),
  natsTopology: field.oneOf('PARLEY_NATS_TOPOLOGY', ['create', 'wait'], {
    description:
      'whether missing streams and consumers are made, or waited for until `parley topology` has made them',
    fallback: 'create',
  }),
} as const;

/** The values of {@link BUS_FIELDS}. */
export type BusConfig = ConfigOf<typeof BUS_FIELDS>;

/**
 * Options of {@link connectBus} from the environment.
 *
 * @param identity - who connects
 * @throws ParleyError CONFIG_INVALID for logins that contradict each other or files that cannot be read
 */
export function busOptions(
  config: BusConfig,
  identity: Identity,
  { log, registry }: { log: Log; registry?: Registry },
): BusOptions {
  const auth = busAuth(config);
  const tls = busTls(config);
  return {
    servers: config.natsUrl.split(',').map((url) => url.trim()),
    name: `parley-${identity.role}${identity.role === 'peer' ? `-${identity.name}` : ''}`,
    identity,
    log,
    connectTimeoutMs: config.natsConnectTimeoutMs,
    makesTopology: config.natsTopology === 'create',
    awaitsAccess: config.natsTopology === 'wait',
    ...(registry && { registry }),
    ...(auth && { auth }),
    ...(tls && { tls }),
  };
}

/**
 * Makes the streams that a service needs, or waits for them, as its configuration says.
 *
 * @throws ParleyError STREAM_CONFLICT, STREAM_MISSING, BUS_UNAVAILABLE
 */
export async function prepareTopology(
  bus: Bus,
  identity: Identity,
  { natsConnectTimeoutMs }: Pick<BusConfig, 'natsConnectTimeoutMs'>,
  options: TopologyOptions & { signal?: AbortSignal } = {},
): Promise<void> {
  const { signal, ...limits } = options;
  if (!bus.makesTopology)
    return awaitTopology(bus, identity, { deadlineMs: natsConnectTimeoutMs, ...(signal && { signal }) });
  await ensureTopology(bus, { ...limits, peers: identity.role === 'peer' ? [identity.name] : [] });
}

function busAuth({ natsCredentials, natsUser, natsPassword, natsToken }: BusConfig): BusAuth | undefined {
  const given = [natsCredentials, natsUser, natsToken].filter((value) => value !== undefined);
  if (given.length > 1) {
    const message =
      'Give one of PARLEY_NATS_CREDENTIALS_FILE, PARLEY_NATS_USER and PARLEY_NATS_TOKEN_FILE, not several';
    throw new ParleyError('CONFIG_INVALID', message);
  }
  if (natsCredentials !== undefined) return { kind: 'creds', credsFile: natsCredentials };
  if (natsToken !== undefined) return { kind: 'token', token: natsToken };
  if (natsUser === undefined && natsPassword === undefined) return undefined;
  if (natsUser !== undefined && natsPassword !== undefined) {
    return { kind: 'user', user: natsUser, password: natsPassword };
  }
  throw new ParleyError(
    'CONFIG_INVALID',
    'PARLEY_NATS_USER and PARLEY_NATS_PASSWORD_FILE belong together; set both',
  );
}

/** Paths, not contents: nats reads them at every connect. They are read here once, so that a wrong one is named. */
function busTls({ natsCa, natsCert, natsKey }: BusConfig): TlsOptions | undefined {
  if ((natsCert === undefined) !== (natsKey === undefined)) {
    const message = 'PARLEY_NATS_CERT_FILE and PARLEY_NATS_KEY_FILE belong together; set both';
    throw new ParleyError('CONFIG_INVALID', message);
  }
  const files = [
    ['PARLEY_NATS_CA_FILE', natsCa],
    ['PARLEY_NATS_CERT_FILE', natsCert],
    ['PARLEY_NATS_KEY_FILE', natsKey],
  ] as const;
  for (const [variable, path] of files) if (path !== undefined) checkReadable(variable, path);
  if (natsCa === undefined && natsCert === undefined) return undefined;
  return {
    ...(natsCa !== undefined && { caFile: natsCa }),
    ...(natsCert !== undefined && { certFile: natsCert, keyFile: natsKey }),
  };
}

function checkReadable(variable: string, path: string): void {
  try {
    readFileSync(path);
  } catch (error) {
    const message = `${variable}: cannot read ${path}: ${(error as Error).message}`;
    throw new ParleyError('CONFIG_INVALID', message, { details: { path }, cause: error });
  }
}

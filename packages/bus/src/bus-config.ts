import { readFileSync } from 'node:fs';
import { ParleyError, field } from '@parley/runtime';
import type { ConfigOf, Log } from '@parley/runtime';
import type { BusAuth, BusOptions } from './connect.js';

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
} as const;

/** The values of {@link BUS_FIELDS}. */
export type BusConfig = ConfigOf<typeof BUS_FIELDS>;

/**
 * Options of {@link connectBus} from the environment.
 *
 * @param name - of the client in the server's monitoring: `parley-pmi`
 * @throws ParleyError CONFIG_INVALID for logins that contradict each other or a CA file that cannot be read
 */
export function busOptions(config: BusConfig, name: string, log: Log): BusOptions {
  const auth = busAuth(config);
  return {
    servers: config.natsUrl.split(',').map((url) => url.trim()),
    name,
    log,
    ...(auth && { auth }),
    ...(config.natsCa !== undefined && { tls: { ca: readCa(config.natsCa) } }),
  };
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

function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const message = `PARLEY_NATS_CA_FILE: cannot read ${path}: ${(error as Error).message}`;
    throw new ParleyError('CONFIG_INVALID', message, { details: { path }, cause: error });
  }
}

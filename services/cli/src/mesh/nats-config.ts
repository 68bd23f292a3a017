import { isOlder } from '@parley/bus';

/** What the mesh's nats-server is to do. */
export interface NatsConfigOptions {
  host: string;
  port: number;
  /** JetStream's folder. */
  storeFolder: string;
  /** Version of the program, for example 2.10.24. */
  version: string;
}

/** Older servers refuse the setting, and the configuration with it. */
const SYNC_ALWAYS_SINCE = '2.10.0';

/** Largest payload of one message; the services put what is larger into blobs. */
const MAX_PAYLOAD = '8MB';

/**
 * The configuration file of the mesh's nats-server: loopback only, JetStream on disk. From 2.10 on every write is
 * synced before it is confirmed; older servers cannot, so that there a power failure (not a crash) may lose the last
 * two minutes.
 */
export function natsConfig({ host, port, storeFolder, version }: NatsConfigOptions): string {
  const sync = isOlder(version, SYNC_ALWAYS_SINCE) ? '' : '  sync_interval: always\n';
  return `# Written by parley; changes are lost at the next start.
host: ${host}
port: ${port}
max_payload: ${MAX_PAYLOAD}
jetstream {
  store_dir: ${JSON.stringify(storeFolder)}
${sync}}
`;
}

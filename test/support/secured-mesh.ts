import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { STREAMS, connectBus, filters, natsBlobs, natsUsers, readFrom } from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import { freePorts } from '@parley/cli';
import { OperatorActionSchema } from '@parley/contracts';
import type { OperatorAction } from '@parley/contracts';
import { createCleanupStack } from '@parley/runtime';
import type { Identity } from '@parley/runtime';
import { createTestAuthority, startOtlpReceiver } from '@parley/runtime/testing';
import type { OtlpReceiver } from '@parley/runtime/testing';
import { launch, run } from './launch.js';
import type { Exit } from './launch.js';
import type { SmallModel } from './small-models.js';
import { until } from './until.js';

/** Bearer tokens that the coordinator takes. */
export const TOKENS = { viewer: 'token-of-the-viewer-0001', operator: 'token-of-the-operator-1' } as const;

/**
 * A mesh as the chart sets it up, on one machine: certificates everywhere, nats-server that gives each role its
 * permissions, streams made by `parley topology`, tokens at the coordinator, traces and metrics.
 */
export interface SecuredMesh extends AsyncDisposable {
  readonly folder: string;
  /** URL of the coordinator. */
  readonly coordinator: string;
  readonly traces: OtlpReceiver;
  /** Environment of an operator's command line: a certificate, NATS. */
  readonly operator: Record<string, string>;
  /** Environment of somebody with a token and no certificate. */
  withToken(role: keyof typeof TOKENS): Promise<Record<string, string>>;
  /** What `/metrics` of a service shows. */
  metrics(service: string): Promise<string>;
  /** Runs `parley`. */
  parley(env: Record<string, string>, ...args: string[]): Promise<Exit>;
  /** What operators asked for, as the stream of events has it. */
  auditEvents(): Promise<OperatorAction[]>;
  /** The logs of all services. */
  logs(): string;
}

/** Starts it, and waits until everything is ready. */
export async function startSecuredMesh(models: readonly SmallModel[]): Promise<SecuredMesh> {
  const cleanup = createCleanupStack();
  try {
    return await start(models, cleanup);
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}

async function start(
  models: readonly SmallModel[],
  cleanup: ReturnType<typeof createCleanupStack>,
): Promise<SecuredMesh> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-secured-'));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const traces = cleanup.use(await startOtlpReceiver());
  const peers = models.map(({ name }) => name);
  const authority = await createTestAuthority(folder);
  const server = await authority.issue('nats');
  const nats = cleanup.use(
    await startNatsServer({
      config: [
        `tls { cert_file: "${server.cert}", key_file: "${server.key}", ca_file: "${server.ca}", verify_and_map: true }`,
        `authorization { users: ${JSON.stringify(natsUsers(peers))} }`,
      ].join('\n'),
    }),
  );
  const envOf = async (identity: Identity) => {
    const name = identity.role === 'peer' ? identity.name : identity.role;
    const { ca, cert, key } = await authority.issue(name, { identity });
    return {
      PARLEY_NATS_URL: nats.url,
      PARLEY_NATS_CA_FILE: ca,
      PARLEY_NATS_CERT_FILE: cert,
      PARLEY_NATS_KEY_FILE: key,
      PARLEY_TLS_CA_FILE: ca,
      PARLEY_TLS_CERT_FILE: cert,
      PARLEY_TLS_KEY_FILE: key,
    };
  };
  const parley: SecuredMesh['parley'] = (env, ...args) =>
    run('cli', env, [...args, '--state', join(folder, 'cli')]);
  const tokensFile = join(folder, 'tokens');
  await writeFile(tokensFile, `ann viewer ${TOKENS.viewer}\nbob operator ${TOKENS.operator}\n`);

  const ports = await freePorts(2 * (peers.length + 2));
  const monitors = new Map<string, number>();
  const take = (service: string) => {
    const [port = 0, monitor = 0] = ports.splice(0, 2);
    monitors.set(service, monitor);
    return {
      address: `127.0.0.1:${port}`,
      env: {
        PARLEY_LISTEN: `127.0.0.1:${port}`,
        PARLEY_MONITOR_LISTEN: `127.0.0.1:${monitor}`,
        PARLEY_NATS_TOPOLOGY: 'wait',
        PARLEY_NATS_CONNECT_TIMEOUT: '30s',
        OTEL_EXPORTER_OTLP_ENDPOINT: traces.endpoint,
        OTEL_BSP_SCHEDULE_DELAY: '200',
      },
    };
  };
  const coordinator = take('coordinator');
  const pmi = take('pmi');
  const services = [
    launch('coordinator', {
      ...coordinator.env,
      ...(await envOf({ role: 'coordinator' })),
      PARLEY_TOKENS_FILE: tokensFile,
    }),
    launch('pmi', { ...pmi.env, ...(await envOf({ role: 'pmi' })) }),
  ];
  for (const { name, folder: model } of models) {
    const env = {
      ...take(name).env,
      ...(await envOf({ role: 'peer', name })),
      PARLEY_PEER_NAME: name,
      PARLEY_MODEL: model,
      PARLEY_STATE_DIR: join(folder, 'state', name),
    };
    services.push(launch('peer', env));
  }
  for (const service of services) cleanup.use(service);
  const monitor = (service: string, path: string) =>
    fetch(`http://127.0.0.1:${monitors.get(service)}${path}`);

  // They wait for streams that nobody has made yet, and say so.
  await until('the services are alive and not ready', async () => {
    const states = await Promise.all(
      [...monitors.keys()].map(async (service) => {
        const [live, ready] = await Promise.all([monitor(service, '/livez'), monitor(service, '/readyz')]);
        return live.ok && ready.status === 503;
      }),
    ).catch(() => [false]);
    return states.every(Boolean);
  });
  const topology = { ...(await envOf({ role: 'topology' })), PARLEY_NATS_TOPOLOGY: 'wait' };
  const made = await parley(topology, 'topology', ...peers.flatMap((peer) => ['--peer', peer]));
  if (made.code !== 0) throw new Error(`parley topology: ${made.stderr}`);
  await until('the services are ready', async () => {
    const ready = await Promise.all([...monitors.keys()].map((service) => monitor(service, '/readyz')));
    return ready.every(({ ok }) => ok);
  });
  return {
    folder,
    coordinator: `https://${coordinator.address}`,
    traces,
    operator: await envOf({ role: 'operator' }),
    async withToken(role) {
      const file = join(folder, `token-${role}`);
      await writeFile(file, `${TOKENS[role]}\n`);
      return { PARLEY_TOKEN_FILE: file, PARLEY_TLS_CA_FILE: server.ca };
    },
    metrics: async (service) => (await monitor(service, '/metrics')).text(),
    parley,
    async auditEvents() {
      const { ca, cert, key } = await authority.issue('auditor', { identity: { role: 'operator' } });
      const tls = { caFile: ca, certFile: cert, keyFile: key };
      await using bus = await connectBus({
        servers: nats.url,
        name: 'auditor',
        identity: { role: 'operator' },
        tls,
      });
      const stream = { stream: STREAMS.events, filter: filters.events(undefined, 'audit') };
      const found = [];
      for await (const { message } of readFrom(bus, {
        ...stream,
        schema: OperatorActionSchema,
        blobs: natsBlobs(bus),
      }))
        found.push(message);
      return found;
    },
    logs: () => services.map(({ stdout }) => stdout).join('\n'),
    [Symbol.asyncDispose]: cleanup.close,
  };
}

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GenericContainer, Network, Wait, getContainerRuntimeClient } from 'testcontainers';
import type { StartedNetwork, StartedTestContainer } from 'testcontainers';
import { connectBus, natsBlobs, natsUsers } from '@parley/bus';
import { freePorts } from '@parley/cli';
import { CoordinatorService, PeerService } from '@parley/contracts';
import { createCleanupStack, createClient, createSilentLog, openTls, sleep } from '@parley/runtime';
import type { ClientOptions, Identity } from '@parley/runtime';
import { createTestAuthority } from '@parley/runtime/testing';
import type { RunningMesh } from './running-mesh.js';
import type { SmallModel } from './small-models.js';
import { until } from './until.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** A client of the test's own, which may listen to everything. */
const TEST_USER = 'test.parley.internal';
const TLS_FOLDER = '/etc/parley/tls';
/** The official image has this folder, which any user may write to; a volume over it takes over its mode. */
const NATS_FOLDER = '/var/tmp';
const VERSION = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
const imageOf = (target: string) => `parley-${target}:${VERSION}`;
const CALL_DEADLINE_MS = 10_000;
const READY_DEADLINE_MS = 60_000;
const LOG_LINES = 25;
const LOG_COLUMNS = 300;

/** Where the images come from: `built` and `local` say that somebody has just made them. */
const IMAGES = process.env['PARLEY_TEST_IMAGES'] ?? '';
/** That of the container mesh, and of deploy/compose. */
export const NATS_IMAGE = IMAGES === 'local' ? 'parley-local/nats' : 'docker.io/library/nats:2.12-alpine';
// Where no registry is reachable, neither is the image of the container that cleans up after a test that was killed.
if (IMAGES === 'local') process.env['TESTCONTAINERS_RYUK_DISABLED'] ??= 'true';

/**
 * Why there can be no containers here, or `false`. Images of this working tree are built, unless `PARLEY_TEST_IMAGES` is `built`
 * (`node deploy/docker/build.mjs` was run) or `local` (the same with `--local`).
 */
export async function missingContainers(): Promise<string | false> {
  try {
    await getContainerRuntimeClient();
  } catch (error) {
    return `no container engine answers (${(error as Error).message})`;
  }
  if (IMAGES !== '') return false;
  const build = spawnSync(process.execPath, [join(ROOT, 'deploy/docker/build.mjs')], { encoding: 'utf8' });
  if (build.status === 0) return false;
  const said = `${build.stdout}${build.stderr}`.trim().split('\n');
  const why = said.findLast((line) => /error|no such|denied|cannot|Get "/i.test(line)) ?? said.at(-1);
  return (
    `the images cannot be built (${why}); where no registry is reachable, run node deploy/docker/build.mjs --local ` +
    'and set PARLEY_TEST_IMAGES=local'
  );
}

/** Containers with certificates and permissions as the chart sets them up, on a network of their own. */
export interface ContainerMesh extends RunningMesh {
  /** SIGKILL, then another container with the same volume, address and certificate; it may not be ready yet. */
  replace(service: string): Promise<void>;
  /** Stops it with SIGTERM, then starts it again. */
  restart(service: string, awayMs: number): Promise<void>;
  /** Freezes its processes. */
  pause(service: string): Promise<void>;
  unpause(service: string): Promise<void>;
  /** Takes it off the network, as if its cable were pulled. */
  cutOff(service: string): Promise<void>;
  reconnect(service: string): Promise<void>;
}

/** Starts the containers, and waits until everything is ready. */
export async function startContainerMesh(models: readonly SmallModel[]): Promise<ContainerMesh> {
  const cleanup = createCleanupStack();
  try {
    return await start(models, cleanup);
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}

/** A container before it is started. */
interface Definition {
  image: string;
  /** Ports inside. */
  ports: readonly number[];
  env?: Record<string, string>;
  command?: string[];
  /** Folder that outlives the container. */
  volume?: string;
  /** Folders of this machine by where they appear. */
  mounts?: Record<string, string>;
  ready: { path: string; port: number };
}

async function start(
  models: readonly SmallModel[],
  cleanup: ReturnType<typeof createCleanupStack>,
): Promise<ContainerMesh> {
  const { container: engine, network: networks } = await getContainerRuntimeClient();
  const id = randomBytes(4).toString('hex');
  const folder = await mkdtemp(join(tmpdir(), 'parley-containers-'));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const network = await new Network().start();
  cleanup.defer(async () => void (await network.stop()));
  const peers = models.map(({ name }) => name);
  const issue = await certificatesIn(folder);
  const definitions = await define(models, folder, issue);
  const services = Object.keys(definitions);
  const volumeOf = (service: string) => `parley-${id}-${service}`;
  for (const [service, { volume }] of Object.entries(definitions)) {
    if (volume === undefined) continue;
    await engine.dockerode.createVolume({ Name: volumeOf(service) });
    cleanup.defer(() => engine.dockerode.getVolume(volumeOf(service)).remove());
  }

  const ports = new Map<string, Map<number, number>>();
  for (const [service, { ports: inside }] of Object.entries(definitions)) {
    const outside = await freePorts(inside.length);
    ports.set(service, new Map(inside.map((port, index) => [port, outside[index] ?? 0])));
  }
  const portOf = (service: string, port: number) => ports.get(service)?.get(port) ?? 0;
  const tails = new Map<string, string[]>();
  const running = new Map<string, StartedTestContainer>();
  cleanup.defer(async () => {
    await Promise.all([...running.values()].map((container) => container.stop({ timeout: 0 })));
  });
  const run = async (service: string) => {
    const definition = definitions[service];
    if (definition === undefined) throw new Error(`no ${service} in this mesh`);
    const { image, env = {}, command, volume, mounts = {} } = definition;
    const container = new GenericContainer(image)
      .withUser('65532:65532')
      .withNetwork(network)
      .withNetworkAliases(service)
      .withDroppedCapabilities('ALL')
      .withEnvironment(env)
      .withBindMounts([
        ...Object.entries(mounts).map(([target, source]) => ({ source, target, mode: 'ro' as const })),
        ...(volume ? [{ source: volumeOf(service), target: volume }] : []),
      ])
      .withExposedPorts(
        ...[...(ports.get(service) ?? [])].map(([inside, host]) => ({ container: inside, host })),
      )
      .withWaitStrategy(Wait.forLogMessage(/./))
      .withLogConsumer((stream) => {
        const lines = tails.get(service) ?? [];
        tails.set(service, lines);
        stream.on('data', (chunk: Buffer | string) => {
          const text = chunk.toString().trimEnd().slice(0, LOG_COLUMNS);
          lines.push(text);
          lines.splice(0, lines.length - LOG_LINES);
        });
      });
    if (command !== undefined) container.withCommand(command);
    running.set(service, await container.start());
  };
  const untilReady = async (service: string) => {
    const { ready } = definitions[service];
    const asked = async () => {
      const url = `http://127.0.0.1:${portOf(service, ready.port)}${ready.path}`;
      const answer = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
      return answer?.ok === true;
    };
    await until(`${service} is ready`, asked, { deadlineMs: READY_DEADLINE_MS, pollMs: 100 }).catch(
      (error: unknown) => {
        throw new Error(`${service} did not become ready; it said last:\n${tails.get(service)?.join('\n')}`, {
          cause: error,
        });
      },
    );
  };
  const container = (service: string) => {
    const found = running.get(service);
    if (found === undefined) throw new Error(`${service} is not running`);
    return engine.getById(found.getId());
  };

  await run('nats');
  await untilReady('nats');
  await makeTopology(network, await issue('topology', { role: 'topology' }), peers);
  await Promise.all(services.filter((service) => service !== 'nats').map(run));
  await Promise.all(services.map(untilReady));

  const own = await issue('test', undefined, [TEST_USER]);
  const bus = cleanup.use(
    await connectBus({
      servers: `nats://127.0.0.1:${portOf('nats', 4222)}`,
      name: 'test',
      tls: { caFile: own.files.ca, certFile: own.files.cert, keyFile: own.files.key },
    }),
  );
  const { files } = await issue('operator', { role: 'operator' });
  const tls = openTls(
    { tlsCa: files.ca, tlsCert: files.cert, tlsKey: files.key },
    { log: createSilentLog() },
  );
  const clientOptions = (label: string): ClientOptions => ({
    deadlineMs: CALL_DEADLINE_MS,
    label,
    credentials: tls?.client(),
  });
  const coordinator = cleanup.use(
    createClient(
      CoordinatorService,
      `127.0.0.1:${portOf('coordinator', 7400)}`,
      clientOptions('the coordinator'),
    ),
  );
  const clients = new Map(
    peers.map((name) => [
      name,
      cleanup.use(
        createClient(PeerService, `127.0.0.1:${portOf(name, 7410)}`, clientOptions(`peer ${name}`)),
      ),
    ]),
  );
  return {
    services,
    peers,
    bus,
    blobs: natsBlobs(bus),
    coordinator,
    peer(name) {
      const client = clients.get(name);
      if (client === undefined) throw new Error(`no peer ${name} in this mesh`);
      return client;
    },
    untilUp: async () => void (await Promise.all(services.map(untilReady))),
    logs: async () =>
      [...tails].map(([service, lines]) => [`--- ${service}`, ...lines].join('\n')).join('\n'),
    async replace(service) {
      const old = container(service);
      await old.kill();
      await old.remove();
      await run(service);
    },
    async restart(service, awayMs) {
      await container(service).stop({ t: 20 });
      await sleep(awayMs);
      await container(service).start();
    },
    pause: async (service) => void (await container(service).pause()),
    unpause: async (service) => void (await container(service).unpause()),
    async cutOff(service) {
      await networks.getById(network.getId()).disconnect({ Container: container(service).id, Force: true });
    },
    async reconnect(service) {
      await networks.getById(network.getId()).connect({
        Container: container(service).id,
        EndpointConfig: { Aliases: [service] },
      });
    },
    [Symbol.asyncDispose]: cleanup.close,
  };
}

/** A certificate, and the folder with it under the names that {@link TLS} gives. */
interface Issued {
  folder: string;
  files: { ca: string; cert: string; key: string };
}

type Issue = (service: string, identity?: Identity, dnsNames?: readonly string[]) => Promise<Issued>;

async function certificatesIn(folder: string): Promise<Issue> {
  const authority = await createTestAuthority(folder);
  return async (service, identity, dnsNames = []) => {
    const own = join(folder, service);
    await mkdir(own, { recursive: true });
    const files = await authority.issue(`${service}/tls`, { identity, dnsNames: [service, ...dnsNames] });
    await copyFile(files.ca, join(own, 'ca.crt'));
    return { folder: own, files };
  };
}

const TLS = {
  PARLEY_TLS_CA_FILE: `${TLS_FOLDER}/ca.crt`,
  PARLEY_TLS_CERT_FILE: `${TLS_FOLDER}/tls.crt`,
  PARLEY_TLS_KEY_FILE: `${TLS_FOLDER}/tls.key`,
  PARLEY_NATS_URL: 'nats://nats:4222',
  PARLEY_NATS_CA_FILE: `${TLS_FOLDER}/ca.crt`,
  PARLEY_NATS_CERT_FILE: `${TLS_FOLDER}/tls.crt`,
  PARLEY_NATS_KEY_FILE: `${TLS_FOLDER}/tls.key`,
  PARLEY_NATS_TOPOLOGY: 'wait',
  PARLEY_NATS_CONNECT_TIMEOUT: '2m',
};

/** nats-server first. */
async function define(
  models: readonly SmallModel[],
  folder: string,
  issue: Issue,
): Promise<Record<string, Definition>> {
  const monitored = { path: '/readyz', port: 9464 };
  const withCertificate = async (service: string, identity?: Identity) => ({
    [TLS_FOLDER]: (await issue(service, identity)).folder,
  });
  const users = [
    ...natsUsers(models.map(({ name }) => name)),
    { user: TEST_USER, permissions: { publish: ['>'], subscribe: ['>'] } },
  ];
  const config = join(folder, 'nats.conf');
  await writeFile(
    config,
    [
      'port: 4222',
      'http_port: 8222',
      `jetstream { store_dir: "${NATS_FOLDER}" }`,
      `tls { cert_file: "${TLS_FOLDER}/tls.crt", key_file: "${TLS_FOLDER}/tls.key", ca_file: "${TLS_FOLDER}/ca.crt", verify_and_map: true }`,
      `authorization { users: ${JSON.stringify(users)} }`,
    ].join('\n'),
  );
  const definitions: Record<string, Definition> = {
    nats: {
      image: NATS_IMAGE,
      ports: [4222, 8222],
      command: ['--config', '/etc/nats/parley.conf'],
      volume: NATS_FOLDER,
      mounts: { ...(await withCertificate('nats')), '/etc/nats/parley.conf': config },
      ready: { path: '/healthz', port: 8222 },
    },
    coordinator: {
      image: imageOf('coordinator'),
      ports: [7400, 9464],
      env: TLS,
      mounts: await withCertificate('coordinator', { role: 'coordinator' }),
      ready: monitored,
    },
    pmi: {
      image: imageOf('pmi'),
      ports: [9464],
      env: TLS,
      mounts: await withCertificate('pmi', { role: 'pmi' }),
      ready: monitored,
    },
  };
  for (const { name, folder: model } of models) {
    definitions[name] = {
      image: imageOf('peer'),
      ports: [7410, 9464],
      env: {
        ...TLS,
        PARLEY_PEER_NAME: name,
        PARLEY_MODEL: '/models/own',
        PARLEY_ADVERTISE: `${name}:7410`,
      },
      volume: '/var/lib/parley',
      mounts: { ...(await withCertificate(name, { role: 'peer', name })), '/models/own': model },
      ready: monitored,
    };
  }
  return definitions;
}

/** Streams and consumers, by the command that the chart's job runs. */
async function makeTopology(
  network: StartedNetwork,
  { folder }: Issued,
  peers: readonly string[],
): Promise<void> {
  let said = '';
  try {
    const container = await new GenericContainer(imageOf('cli'))
      .withNetwork(network)
      .withEnvironment(TLS)
      .withBindMounts([{ source: folder, target: TLS_FOLDER, mode: 'ro' }])
      .withCommand(['topology', '--lease=1500ms', ...peers.map((peer) => `--peer=${peer}`)])
      .withLogConsumer((stream) => stream.on('data', (chunk: Buffer | string) => (said += chunk.toString())))
      .withWaitStrategy(Wait.forOneShotStartup())
      .start();
    await container.stop();
  } catch (error) {
    throw new Error(`parley topology: ${said}`, { cause: error });
  }
}

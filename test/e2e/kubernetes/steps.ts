import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { sleep } from '@parley/runtime';
import { auditRun } from './audit.js';
import { PEERS } from './release.js';
import type { Clients, Pod, Release } from './release.js';
import { until } from '../../support/until.js';
import { ROOT } from './tools.js';

const PATIENCE = { deadlineMs: 300_000, pollMs: 1000 };

/** A step was not taken, and why. */
export class NotHere extends Error {}

/** What a step has: a release for itself or that of the steps before, and the means to make another. */
export interface Surroundings {
  release: Release;
  /** Another release, in a namespace of its own. */
  readonly other: (namespace: string) => Promise<Release>;
  /** Runs an operator in the cluster of ours; in another one it has to be there. */
  readonly add: (operator: string) => Promise<void>;
}

/** @returns what was found, in a line */
export type Step = (surroundings: Surroundings) => Promise<string>;

/** Every step, in order. */
export const STEPS: Record<string, Step> = {
  'dry-run': dryRun,
  install,
  test: async ({ release }) => lastLine(await release.test()),
  upgrade,
  rollback,
  kill,
  policies,
  rotate,
  join: joinMesh,
  uninstall,
  'cert-manager': certManager,
  keda,
  'nats-cluster': natsCluster,
};

/** Values with which every pod is replaced: one annotation of each template differs. */
const rolled = () => {
  const podAnnotations = { 'parley/generation': new Date().toISOString() };
  return {
    coordinator: { podAnnotations },
    pmi: { podAnnotations },
    nats: { podAnnotations },
    peerDefaults: { podAnnotations },
  };
};

/** The API server judges what every documented file of values renders. */
async function dryRun({ other }: Surroundings): Promise<string> {
  const { tools, namespace } = await other('dry-run');
  // A pod is judged by itself, and needs it to be there.
  await tools.apply({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'mesh-parley', namespace },
  });
  const kinds = await tools.kubectl(['api-resources', '-o', 'name']);
  const missing = [
    'certificates.cert-manager.io',
    'scaledobjects.keda.sh',
    'prometheusrules.monitoring.coreos.com',
  ].filter((kind) => !kinds.includes(kind));
  if (missing.length > 0) throw new NotHere(`this cluster does not know ${missing.join(', ')}`);
  const files = await readdir(join(ROOT, 'helm/parley/ci'));
  let objects = 0;
  for (const file of files) {
    const chart = join(ROOT, 'helm/parley');
    const rendered = await tools.helm([
      'template',
      'mesh',
      chart,
      '--namespace',
      namespace,
      '--values',
      join(chart, 'ci', file),
    ]);
    const taken = await tools.kubectl(
      ['apply', '--dry-run=server', '--namespace', namespace, '-f', '-'],
      rendered,
    );
    objects += taken.trim().split('\n').length;
  }
  return `${objects} objects of ${files.length} files of values are taken`;
}

async function install({ release }: Surroundings): Promise<string> {
  const started = performance.now();
  await release.deploy(rolled());
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const pods = await release.pods();
  assert.ok(pods.every(({ status }) => status.containerStatuses?.every(({ ready }) => ready)));
  return `${pods.length} pods ready after ${seconds} s`;
}

async function upgrade({ release }: Surroundings): Promise<string> {
  return duringRun(release, 'upgrade', () => replacing(release, () => release.deploy(rolled())));
}

async function rollback({ release }: Surroundings): Promise<string> {
  const { tools, name, namespace } = release;
  const back = () => tools.helm(['rollback', name, '--namespace', namespace, '--wait', '--timeout', '5m']);
  return duringRun(release, 'rollback', () => replacing(release, back));
}

/** Does something after which every pod must be another one. */
async function replacing(release: Release, act: () => Promise<unknown>): Promise<string> {
  const before = new Set((await release.pods()).map(({ metadata: { uid } }) => uid));
  const started = performance.now();
  await act();
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const after = await release.pods();
  const kept = after.filter(({ metadata: { uid } }) => before.has(uid));
  assert.deepEqual(
    kept.map(({ metadata }) => metadata.name),
    [],
    'these pods were not replaced',
  );
  return `${after.length} pods replaced in ${seconds} s`;
}

/** Every pod is killed, one after the other. */
function kill({ release }: Surroundings): Promise<string> {
  return duringRun(release, 'kill', () => killInTurn(release));
}

/** Kills pods without grace, one after another, each as soon as the one before is ready again. */
async function killInTurn(release: Release, component?: string): Promise<string> {
  const { tools, namespace } = release;
  const { length: all } = await release.pods();
  const victims = await release.pods(component);
  for (const { metadata } of victims) {
    const now = ['--grace-period=0', '--force', '--wait=false'];
    await tools.kubectl(['-n', namespace, 'delete', 'pod', metadata.name, ...now]);
    await sleep(3000);
    await untilReady(release, all);
  }
  return `${victims.length} pods killed`;
}

function untilReady(release: Release, count: number): Promise<void> {
  const ready = ({ status }: Pod) => status.containerStatuses?.every((container) => container.ready) ?? false;
  return until(
    `${count} pods are ready`,
    async () => (await release.pods()).filter(ready).length === count,
    PATIENCE,
  );
}

/** Requires that a run goes through it without a lost round, a doubled update or a failed call. */
async function duringRun(release: Release, name: string, act: () => Promise<string>): Promise<string> {
  const clients: Clients = await release.startRun(`e2e-${name}`);
  await sleep(10_000);
  const done = await act();
  const underWay = !(await clients.ended());
  const { record, calls, slowestSeconds } = await clients.result();
  const updates = clients.rounds * PEERS.length;
  assert.deepEqual(
    [record.state, record.updatesPublished, record.updatesApplied],
    ['completed', updates, updates],
  );
  await auditRun(release, record.runId, clients.rounds);
  const when = underWay ? '' : ' (the run ended before it did)';
  const called = `${calls} calls, none failed, the slowest ${slowestSeconds} s`;
  return `${done}${when}; ${clients.rounds} rounds and ${updates} updates, each once; ${called}`;
}

/** Who reaches which port, from pods with labels and without. */
async function policies({ release }: Surroundings): Promise<string> {
  const { name, namespace } = release;
  const ports = {
    coordinator: [`${name}-parley-coordinator.${namespace}.svc`, 7400],
    nats: [`${name}-parley-nats.${namespace}.svc`, 4222],
    'NATS monitoring': [`${name}-parley-nats.${namespace}.svc`, 8222],
    peer: [`${name}-parley-peer-llama-0.${name}-parley-peer-llama.${namespace}.svc`, 7410],
    metrics: [`${name}-parley-coordinator-metrics.${namespace}.svc`, 9464],
  } as const;
  const reached = async (pod: string, labels: Record<string, string>) =>
    JSON.parse(await release.evaluate(pod, labels, reachScript(ports))) as string[];
  const stranger = await reached('e2e-stranger', {});
  const client = await reached('e2e-client', { 'parley/client': 'true' });
  if (stranger.length === Object.keys(ports).length)
    throw new NotHere('this cluster does not enforce network policies');
  assert.deepEqual(stranger, [], 'a pod without the label reaches nothing');
  assert.deepEqual(client, ['coordinator', 'nats', 'peer'], 'a client reaches what asks for a certificate');
  return `a stranger reaches none of ${Object.keys(ports).length} ports, a client ${client.join(', ')}`;
}

const reachScript = (ports: object) => `
const net = require('node:net');
const ports = ${JSON.stringify(ports)};
const reach = ([host, port]) => new Promise((resolve) => {
  const socket = net.connect({ host, port, timeout: 3000 });
  socket.on('connect', () => resolve(true)).on('error', () => resolve(false)).on('timeout', () => resolve(false));
});
// Policies take a moment to know a new pod.
setTimeout(async () => {
  const open = [];
  for (const [name, target] of Object.entries(ports)) if (await reach(target)) open.push(name);
  console.log(JSON.stringify(open));
  process.exit(0);
}, 8000);
`;

/** Certificates that are removed are made anew by an upgrade, and served without a restart. */
async function rotate({ release }: Surroundings): Promise<string> {
  const { tools, namespace, name } = release;
  return withNewCertificates(release, async () => {
    for (const component of [
      'coordinator',
      'nats',
      'pmi',
      'operator',
      ...PEERS.map((peer) => `peer-${peer}`),
    ])
      await tools.kubectl(['-n', namespace, 'delete', 'secret', `${name}-parley-${component}-tls`]);
    await release.change({});
  });
}

/** Lets certificates change, waits until the new ones are served, and requires that no pod was restarted and all is well. */
async function withNewCertificates(release: Release, change: () => Promise<void>): Promise<string> {
  const identity = async () =>
    (await release.pods()).map(({ metadata: { name, uid }, status }) => [
      name,
      uid,
      status.containerStatuses?.map(({ restartCount }) => restartCount),
    ]);
  const [pods, before] = [await identity(), await servedSerials(release)];
  await change();
  const started = performance.now();
  const renewed = async () =>
    Object.entries(await servedSerials(release)).every(([service, serial]) => serial !== before[service]);
  await until('new certificates are served', renewed, PATIENCE);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  assert.deepEqual(await identity(), pods, 'no pod was restarted');
  await release.test();
  return `new certificates served after ${seconds} s without a restart, and helm test passes with them`;
}

/** Serial numbers of the certificates that the coordinator, a peer and nats-server show. */
async function servedSerials({ tools, namespace, name }: Release): Promise<Record<string, string>> {
  const serials: Record<string, string> = {};
  const targets = {
    coordinator: [`service/${name}-parley-coordinator`, 7400],
    llama: [`pod/${name}-parley-peer-llama-0`, 7410],
    nats: [`service/${name}-parley-nats`, 4222],
  } as const;
  for (const [service, [target, port]] of Object.entries(targets)) {
    await using forwarding = await tools.forward(namespace, target, port);
    serials[service] = await serialAt(forwarding.port, service === 'nats');
  }
  return serials;
}

/** @param greets - nats-server speaks first, in plain text, before TLS begins */
function serialAt(port: number, greets: boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectPlain({ host: 'localhost', port, timeout: 10_000 });
    const begin = () => {
      // Only the number is of interest; nothing is sent.
      const secured = connect({ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
        resolve(secured.getPeerCertificate().serialNumber);
        secured.destroy();
      });
      secured.once('error', reject);
    };
    socket.once('error', reject).once('timeout', () => reject(new Error('no answer')));
    socket.once(greets ? 'data' : 'connect', begin);
  });
}

/** A further peer gets its volume, certificate, permissions, consumer and store, and takes part; nobody else is restarted. */
async function joinMesh({ release }: Surroundings): Promise<string> {
  const before = (await release.pods()).map(({ metadata: { uid } }) => uid);
  const demo = (name: string, model = name) => ({ name, model: { path: `/app/deploy/demo/${model}` } });
  const started = performance.now();
  await release.change({ peers: [...PEERS.map((name) => demo(name)), demo('guest', 'llama')] });
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const after = new Set((await release.pods()).map(({ metadata: { uid } }) => uid));
  assert.ok(before.every((uid) => after.has(uid)) && after.size === before.length + 1);
  const found = await release.test();
  assert.match(found, /guest version 1 from round 0/);
  return `ready after ${seconds} s, and helm test passes with it`;
}

/** The same with certificates of cert-manager, which renews them by itself. */
async function certManager({ other, add }: Surroundings): Promise<string> {
  await add('cert-manager');
  const release = await other('cert-manager');
  const { tools, namespace, name } = release;
  await release.deploy(rolled(), { tls: { mode: 'certManager' } });
  const result = await withNewCertificates(release, async () => {
    for (const component of ['coordinator', 'nats', ...PEERS.map((peer) => `peer-${peer}`)]) {
      const status = { conditions: [{ type: 'Issuing', status: 'True', reason: 'Test', message: 'renew' }] };
      // What cmctl renew does.
      await tools.kubectl([
        '-n',
        namespace,
        'patch',
        'certificate',
        `${name}-parley-${component}-tls`,
        '--subresource=status',
        '--type=merge',
        '-p',
        JSON.stringify({ status }),
      ]);
    }
  });
  await release.remove();
  return result;
}

/** Peers have no pod while nobody needs them, and one as soon as a run does. */
async function keda({ other, add }: Surroundings): Promise<string> {
  await add('keda');
  const release = await other('keda');
  await release.deploy(rolled(), {
    keda: { enabled: true, pollingInterval: 5, peers: { cooldownSeconds: 30 } },
    pmi: { replicas: 1 },
  });
  const peers = async () =>
    (await release.pods()).filter(({ metadata }) => /-peer-/.test(metadata.name)).length;
  const secondsUntil = async (count: number) => {
    const started = performance.now();
    await until(`${count} peers have a pod`, async () => (await peers()) === count, PATIENCE);
    return ((performance.now() - started) / 1000).toFixed(0);
  };
  const idle = await secondsUntil(0);
  const clients = await release.startRun('e2e-keda');
  const awake = await secondsUntil(PEERS.length);
  const { record } = await clients.result();
  await auditRun(release, record.runId, clients.rounds);
  const asleep = await secondsUntil(0);
  await release.remove();
  return `no peer after ${idle} s idle, all ${awake} s after a run was submitted, none again ${asleep} s after its end`;
}

/** Three servers of NATS: each is killed in turn during a run, and the others go on. */
async function natsCluster({ other }: Surroundings): Promise<string> {
  const release = await other('nats-cluster');
  await release.deploy(rolled(), { nats: { replicas: 3 } });
  const found = await duringRun(release, 'nats-cluster', () => killInTurn(release, 'nats'));
  await release.remove();
  return found;
}

async function uninstall({ release }: Surroundings): Promise<string> {
  await release.remove();
  const { tools, namespace, name } = release;
  const left = async () => {
    const names = await tools.kubectl([
      '-n',
      namespace,
      'get',
      'all,secret,pvc,configmap,networkpolicy',
      '-o',
      'name',
    ]);
    // Kubernetes itself makes the first; the test is a hook, which Helm leaves.
    return names
      .trim()
      .split('\n')
      .filter((line) => line !== 'configmap/kube-root-ca.crt' && line !== `pod/${name}-parley-test`);
  };
  const lines = await left();
  const claims = lines.filter((line) => line.startsWith('persistentvolumeclaim/'));
  assert.deepEqual(claims, lines);
  assert.equal(claims.length, PEERS.length + 2, 'one of each peer, of the one that joined, and of NATS');
  return `${claims.length} volumes with weights and streams are left, and nothing else`;
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}

/** Runs a program of this repository. */
export const execute = promisify(execFile);

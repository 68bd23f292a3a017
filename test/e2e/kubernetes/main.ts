/**
 * `npm run e2e`: the chart on a real cluster: installed, tested, upgraded and rolled back during a run, its pods killed, its
 * certificates renewed.
 *
 *   npm run e2e -- [--context NAME] [--values FILE …] [--keep] [step …]
 *
 * Without `--context`, test/e2e/cluster makes a cluster on this machine, and the images are those that
 * `node deploy/docker/build.mjs --local` made. With it, that context of your kubeconfig is used: kind, k3d or another; the
 * images must be reachable from there, as the chart or `--values` names them. Steps run in the order in which they are
 * written; without any, all run. `--keep` leaves everything as it is at the end.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { withDeadline } from '@parley/runtime';
import { createRelease } from './release.js';
import type { Release } from './release.js';
import { NotHere, STEPS, execute } from './steps.js';
import { ROOT, createTools } from './tools.js';
import type { Tools } from './tools.js';

const CLUSTER = join(ROOT, 'test/e2e/cluster/cluster.sh');
const LOCAL_VALUES = join(ROOT, 'test/e2e/kubernetes/local-values.yaml');
/** Ten times what the slowest step takes, so that one that hangs says so. */
const STEP_MS = 20 * 60_000;
const IMAGES = ['coordinator', 'pmi', 'cli', 'peer'];

const { values: options, positionals } = parseArgs({
  options: {
    context: { type: 'string' },
    values: { type: 'string', multiple: true, default: [] },
    keep: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const unknown = positionals.find((step) => !(step in STEPS));
if (unknown !== undefined) {
  console.error(
    `There is no step "${unknown}"; choose from ${Object.keys(STEPS).join(', ')}, or give none for all`,
  );
  process.exit(2);
}

const tools =
  options.context === undefined ? await localCluster() : createTools(process.env, options.context);
const values = [...(options.context === undefined ? [LOCAL_VALUES] : []), ...options.values];
const namespaces: string[] = [];
// Not by itself: a step that was given up may still have connections.
process.exit((await runSteps()) ? 0 : 1);

async function runSteps(): Promise<boolean> {
  const release = await prepare('parley-e2e');
  const surroundings = {
    release,
    other: (name: string) => prepare(`parley-e2e-${name}`),
    async add(operator: string) {
      if (options.context === undefined) await execute(CLUSTER, ['add', operator]);
    },
  };
  const steps = positionals.length > 0 ? positionals : Object.keys(STEPS);
  let good = true;
  try {
    for (const step of steps) {
      const started = performance.now();
      const seconds = () => `${((performance.now() - started) / 1000).toFixed(0)} s`.padStart(6);
      try {
        const found = await withDeadline({ deadlineMs: STEP_MS, what: `the step ${step}` }, () =>
          STEPS[step](surroundings),
        );
        console.log(`✔ ${step.padEnd(14)} ${seconds()}  ${found}`);
      } catch (error) {
        if (error instanceof NotHere) {
          console.log(`﹣ ${step.padEnd(14)} ${seconds()}  not run: ${error.message}`);
          continue;
        }
        good = false;
        console.log(`✖ ${step.padEnd(14)} ${seconds()}  ${(error as Error).message}`);
        break;
      }
    }
  } finally {
    if (!options.keep && good) {
      for (const namespace of namespaces)
        await tools.kubectl(['delete', 'namespace', namespace, '--wait=false']);
    }
  }
  return good;
}

/** A namespace that takes nothing but restricted pods. */
async function prepare(namespace: string): Promise<Release> {
  namespaces.push(namespace);
  await tools.apply({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  return createRelease(tools, namespace, values);
}

async function localCluster(): Promise<Tools> {
  console.error('Starting a cluster on this machine (the first time its programs are built: 12 minutes) …');
  await execute(CLUSTER, ['up']);
  await execute(CLUSTER, ['crds']);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  await execute(CLUSTER, ['load', ...IMAGES.map((image) => `parley-${image}:${version}`)]);
  const [{ stdout: kubeconfig }, { stdout: bin }] = await Promise.all([
    execute(CLUSTER, ['kubeconfig']),
    execute(CLUSTER, ['bin']),
  ]);
  return createTools({
    ...process.env,
    KUBECONFIG: kubeconfig.trim(),
    PATH: `${bin.trim()}:${process.env['PATH']}`,
  });
}

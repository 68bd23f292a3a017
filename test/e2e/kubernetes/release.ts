import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unlabelledQuestions, WORD_PROBLEMS } from '@parley/evaluation';
import { sleep } from '@parley/runtime';
import { until } from '../../support/until.js';
import { ROOT } from './tools.js';
import type { Tools } from './tools.js';

/** Rounds of a run, and questions of a round: a run that outlasts an upgrade of everything. */
const ROUNDS = 12;
const PROMPTS_PER_ROUND = 128;
const TIMEOUT = '5m';

/** What `kubectl get pods -o json` shows of one. */
export interface Pod {
  metadata: { name: string; uid: string; labels: Record<string, string>; deletionTimestamp?: string };
  spec: { containers: { image: string }[] };
  status: { phase: string; containerStatuses?: { ready: boolean; restartCount: number }[] };
}

/** How a run went, as `parley run --json` records it. */
export interface RunRecord {
  runId: string;
  state: string;
  updatesPublished: number;
  updatesApplied: number;
}

/** A run under way, driven by a client in the cluster, and a second client that calls all the time. */
export interface Clients {
  readonly rounds: number;
  /** Whether the run has ended, well or not. */
  ended(): Promise<boolean>;
  /** Waits for the end. @throws Error if the run, or any call of either client, failed */
  result(): Promise<{ record: RunRecord; calls: number; slowestSeconds: number }>;
}

/** The chart, installed. */
export interface Release {
  readonly name: string;
  readonly namespace: string;
  readonly tools: Tools;
  /** Installs or upgrades with these values, and waits until everything is ready. */
  deploy(...values: object[]): Promise<void>;
  /** Upgrades with the values that it has, but for these. */
  change(values: object): Promise<void>;
  /** Those that are to stay, without finished jobs. */
  pods(component?: string): Promise<Pod[]>;
  /** Uninstalls, and waits until the pods are gone. */
  remove(): Promise<void>;
  /** @returns what the chart's test printed */
  test(): Promise<string>;
  startRun(name: string): Promise<Clients>;
  /** Runs JavaScript in a pod of the command line's image. @returns what it printed */
  evaluate(name: string, labels: Record<string, string>, script: string): Promise<string>;
  /** A secret's value. */
  secret(name: string, key: string): Promise<string>;
}

/** The components that every release has. */
export const PEERS = ['llama', 'qwen', 'gemma'];

/** @param base - values of every deployment */
export function createRelease(tools: Tools, namespace: string, base: readonly string[]): Release {
  const name = 'mesh';
  const chart = join(ROOT, 'helm/parley');
  const coordinator = `${name}-parley-coordinator.${namespace}.svc:7400`;
  const inNamespace = ['--namespace', namespace];

  const helmUpgrade = async (files: readonly string[], values: readonly object[], more: string[] = []) => {
    const folder = await mkdtemp(join(tmpdir(), 'parley-e2e-'));
    try {
      for (const [index, value] of values.entries())
        await writeFile(join(folder, `${index}.json`), JSON.stringify(value));
      const written = values.map((_, index) => join(folder, `${index}.json`));
      const all = [...files, ...written].flatMap((file) => ['--values', file]);
      const wait = ['--wait', '--timeout', TIMEOUT];
      await tools.helm(['upgrade', '--install', name, chart, ...inNamespace, ...wait, ...more, ...all]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };

  const pods: Release['pods'] = async (component) => {
    const labels = { 'app.kubernetes.io/instance': name, 'app.kubernetes.io/component': component };
    const selector = Object.entries(labels)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `${key}=${value}`)
      .join(',');
    const { items } = await tools.get<{ items: Pod[] }>(...inNamespace, 'pods', '-l', selector);
    return items.filter(
      ({ metadata: { labels: own, deletionTimestamp } }) =>
        deletionTimestamp === undefined &&
        !['test', 'topology'].includes(own['app.kubernetes.io/component'] ?? ''),
    );
  };

  /** A pod that may call the mesh: the token and the authority's certificate, nothing else. */
  const clientPod = async (labels: Record<string, string>, container: object, questions?: string) => {
    const [{ spec }] = (await tools
      .get<{ items: { spec: { template: { spec: Pod['spec'] } } }[] }>(
        ...inNamespace,
        'jobs',
        '-l',
        'app.kubernetes.io/component=topology',
      )
      .then(({ items }) => items)) as [{ spec: { template: { spec: Pod['spec'] } } }];
    return {
      metadata: { labels },
      spec: {
        restartPolicy: 'Never',
        automountServiceAccountToken: false,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 65532,
          fsGroup: 65532,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        containers: [
          {
            name: 'client',
            image: spec.template.spec.containers[0]?.image,
            imagePullPolicy: 'IfNotPresent',
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
            env: [
              { name: 'PARLEY_COORDINATOR', value: coordinator },
              { name: 'PARLEY_TLS_CA_FILE', value: '/client/ca.crt' },
              { name: 'PARLEY_TOKEN_FILE', value: '/client/operator' },
            ],
            volumeMounts: [
              { name: 'client', mountPath: '/client', readOnly: true },
              { name: 'tmp', mountPath: '/tmp' },
              ...(questions ? [{ name: 'questions', mountPath: '/questions', readOnly: true }] : []),
            ],
            ...container,
          },
        ],
        volumes: [
          { name: 'tmp', emptyDir: {} },
          {
            name: 'client',
            projected: {
              sources: [
                {
                  secret: {
                    name: `${name}-parley-operator-tls`,
                    items: [{ key: 'ca.crt', path: 'ca.crt' }],
                  },
                },
                {
                  secret: {
                    name: `${name}-parley-coordinator-tokens`,
                    items: [{ key: 'operator', path: 'operator' }],
                  },
                },
              ],
            },
          },
          ...(questions ? [{ name: 'questions', configMap: { name: questions } }] : []),
        ],
      },
    };
  };

  const startJob = async (job: string, template: object) => {
    await tools.kubectl([...inNamespace, 'delete', 'job', job, '--ignore-not-found', '--wait']);
    await tools.apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: job, namespace },
      spec: { backoffLimit: 0, template },
    });
  };
  const conditionOf = async (job: string) => {
    const { status } = await tools.get<{ status: { succeeded?: number; failed?: number } }>(
      ...inNamespace,
      'job',
      job,
    );
    return { ended: Boolean(status.succeeded ?? status.failed), failed: Boolean(status.failed) };
  };
  const logsOf = (job: string) => tools.kubectl([...inNamespace, 'logs', `job/${job}`, '--tail=-1']);

  return {
    name,
    namespace,
    tools,
    deploy: (...values) => helmUpgrade(base, values),
    change: (values) => helmUpgrade([], [values], ['--reuse-values']),
    pods,
    async remove() {
      await tools.helm(['uninstall', name, ...inNamespace, '--wait', '--timeout', TIMEOUT]);
      const gone = async () => (await tools.get<{ items: Pod[] }>(...inNamespace, 'pods')).items;
      const isOurs = ({ metadata: { labels: own } }: Pod) => own['app.kubernetes.io/component'] !== 'test';
      await until('the pods are gone', async () => !(await gone()).some(isOurs), {
        deadlineMs: 180_000,
        pollMs: 1000,
      });
    },
    test: () => tools.helm(['test', name, ...inNamespace, '--logs', '--timeout', TIMEOUT]),
    async startRun(run) {
      const questions = `${run}-questions`;
      const lines = unlabelledQuestions(WORD_PROBLEMS, ROUNDS * PROMPTS_PER_ROUND, 1n).map(
        ({ promptId, question }) => JSON.stringify({ id: promptId, question }),
      );
      await tools.apply({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: questions, namespace },
        data: { 'questions.jsonl': lines.join('\n') },
      });
      const args = [
        'run',
        '--questions=/questions/questions.jsonl',
        '--recipe=trust',
        '--set=generation.maxTokens=16',
        '--set=aggregate.answerForms=marker',
        `--set=rounds.promptsPerRound=${PROMPTS_PER_ROUND}`,
        `--title=${run}`,
        ...PEERS.map((peer) => `--peer=${peer}`),
        '--json',
      ];
      const labels = { 'parley/client': 'true' };
      await startJob(run, await clientPod(labels, { args }, questions));
      await startJob(`${run}-caller`, await clientPod(labels, { command: ['node', '-e', CALLER] }));
      return {
        rounds: ROUNDS,
        ended: async () => (await conditionOf(run)).ended,
        async result() {
          const deadline = Date.now() + 15 * 60_000;
          for (;;) {
            const { ended, failed } = await conditionOf(run);
            if (failed) throw new Error(`the run failed:\n${await logsOf(run)}`);
            if (ended) break;
            if (Date.now() > deadline)
              throw new Error(`the run did not end:\n${(await logsOf(run)).slice(-3000)}`);
            await sleep(1000);
          }
          const log = await logsOf(run);
          const record = log.split('\n').findLast((line) => line.startsWith('{'));
          if (record === undefined) throw new Error(`the client printed no record:\n${log}`);
          const calls = (await logsOf(`${run}-caller`)).trim().split('\n');
          const failures = calls.filter((line) => !line.startsWith('ok '));
          if (failures.length > 0 || calls.length < 5) {
            throw new Error(
              `${failures.length} of ${calls.length} calls failed:\n${failures.slice(0, 5).join('\n')}`,
            );
          }
          const made = [`job/${run}`, `job/${run}-caller`, `configmap/${questions}`];
          await tools.kubectl([...inNamespace, 'delete', ...made, '--wait=false']);
          const slowestSeconds = Math.max(...calls.map((line) => Number(line.slice(3))));
          return { record: JSON.parse(record) as RunRecord, calls: calls.length, slowestSeconds };
        },
      };
    },
    async evaluate(job, labels, script) {
      await startJob(job, await clientPod(labels, { command: ['node', '-e', script] }));
      const deadline = Date.now() + 120_000;
      while (!(await conditionOf(job)).ended) {
        if (Date.now() > deadline) throw new Error(`${job} did not end: ${await logsOf(job)}`);
        await sleep(500);
      }
      const said = await logsOf(job);
      await tools.kubectl([...inNamespace, 'delete', 'job', job, '--wait=false']);
      return said.trim();
    },
    async secret(secret, key) {
      const { data } = await tools.get<{ data: Record<string, string> }>(...inNamespace, 'secret', secret);
      return Buffer.from(data[key] ?? '', 'base64').toString();
    },
  };
}

/** Calls the coordinator all the time, by the command line as people use it, and says how each call went. */
const CALLER = `
const { spawnSync } = require('node:child_process');
const call = () => {
  const started = performance.now();
  const { status, stderr } = spawnSync('node', ['/app/services/cli/dist/main.js', 'runs', '--state', '/tmp/state'], { encoding: 'utf8' });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(status === 0 ? 'ok ' + seconds : stderr.replaceAll('\\n', ' '));
  setTimeout(call, 100);
};
process.on('SIGTERM', () => process.exit(0));
call();
`;

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { toJsonString } from '@bufbuild/protobuf';
import { BUS_METRICS } from '@parley/bus';
import { OperatorActionSchema } from '@parley/contracts';
import { COORDINATOR_METRICS } from '@parley/coordinator';
import { PEER_METRICS } from '@parley/peer';
import { PMI_METRICS } from '@parley/pmi';
import { RPC_METRICS, TLS_METRICS } from '@parley/runtime';
import type { MetricTable } from '@parley/runtime';
import { smallRecipe } from '../support/run.js';
import { TOKENS, startSecuredMesh } from '../support/secured-mesh.js';
import type { SecuredMesh } from '../support/secured-mesh.js';
import { ARCHITECTURES, makeSmallModels, smallQuestions } from '../support/small-models.js';
import { until } from '../support/until.js';

const ROUNDS = 2;
const PROMPTS_PER_ROUND = 8;

describe('a mesh with certificates, permissions, tokens, traces and metrics', () => {
  let models = '';
  let mesh: SecuredMesh;
  let questions = '';
  let recipe = '';
  let runId = '';

  before(async () => {
    models = await mkdtemp(join(tmpdir(), 'parley-models-'));
    mesh = await startSecuredMesh(await makeSmallModels(models));
    [questions, recipe] = [join(mesh.folder, 'questions.jsonl'), join(mesh.folder, 'recipe.json')];
    const prompts = smallQuestions(ROUNDS * PROMPTS_PER_ROUND).map(({ promptId, question }) => ({
      id: promptId,
      question,
    }));
    await writeFile(questions, prompts.map((prompt) => JSON.stringify(prompt)).join('\n'));
    await writeFile(recipe, JSON.stringify(smallRecipe(PROMPTS_PER_ROUND)));
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
    await rm(models, { recursive: true, force: true });
  });

  const runArguments = () => [
    'run',
    '--questions',
    questions,
    '--recipe',
    recipe,
    '--coordinator',
    mesh.coordinator,
  ];

  it('refuses a viewer what takes an operator, and whoever has no token, before anything is done', async () => {
    const viewer = await mesh.withToken('viewer');
    const refused = await mesh.parley(viewer, ...runArguments(), '--detach');
    assert.deepEqual([refused.code, refused.stdout], [1, '']);
    assert.match(
      refused.stderr,
      /ann is a viewer and may not call parley\.v1\.CoordinatorService\/CreateRun/,
    );
    const listed = await mesh.parley(viewer, 'runs', '--coordinator', mesh.coordinator);
    assert.deepEqual(
      [listed.code, listed.stdout.trim()],
      [0, 'No runs yet; `parley run` and `parley demo` make some.'],
    );
    const { PARLEY_TLS_CA_FILE } = viewer;
    const nobody = await mesh.parley(
      { PARLEY_TLS_CA_FILE: PARLEY_TLS_CA_FILE },
      'runs',
      '--coordinator',
      mesh.coordinator,
    );
    assert.match(nobody.stderr, /needs a token/);
    const plain = mesh.coordinator.replace('https://127.0.0.1', 'http://example.test');
    const careless = await mesh.parley(viewer, 'runs', '--coordinator', plain);
    assert.equal(careless.code, 2);
    assert.match(careless.stderr, /would travel to example\.test:\d+ in plain text/);
  });

  it('takes an operator through a run to its end', async () => {
    const done = await mesh.parley(await mesh.withToken('operator'), ...runArguments(), '--json');
    assert.equal(done.code, 0, `${done.stderr}\n${mesh.logs().slice(-5000)}`);
    const record = JSON.parse(done.stdout) as Record<string, unknown>;
    runId = record['runId'] as string;
    assert.deepEqual([record['updatesPublished'], record['updatesApplied']], [6, 6]);
  });

  it('shows one trace from the submitted questions to the committed version of every peer', async () => {
    const versionOf = (name: string) => ({ name, version: 1 });
    const committed = () =>
      mesh.traces.spans.filter(
        ({ name, attributes }) => name === 'commit' && attributes['parley.version'] === 1,
      );
    await until('the spans of the first versions', async () => committed().length === ARCHITECTURES.length);
    const submit = mesh.traces.spans.find(
      ({ name, service }) => service === 'parley-coordinator' && name.endsWith('/SubmitPrompts'),
    );
    assert.ok(submit, 'the submission is traced');
    assert.deepEqual(
      committed().map(({ traceId, attributes }) => ({ traceId, name: attributes['parley.peer'] })),
      committed().map(({ attributes }) => ({ traceId: submit.traceId, name: attributes['parley.peer'] })),
    );
    assert.deepEqual(
      committed()
        .map(({ attributes }) => versionOf(String(attributes['parley.peer'])))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      [...ARCHITECTURES].sort().map(versionOf),
    );
    const names = new Set(
      mesh.traces.spans.filter(({ traceId }) => traceId === submit.traceId).map(({ name }) => name),
    );
    for (const name of [
      'send PROMPTS',
      'round',
      'chat llama',
      'parley.v1.PeerService/Generate',
      'send ROUNDS',
      'process ROUNDS',
      'parley.v1.PeerService/Score',
      'send UPDATES',
      'process UPDATES',
      'training',
      'send VERSIONS',
    ])
      assert.ok(names.has(name), `${name} belongs to the trace; it has ${[...names].join(', ')}`);
    const chat = mesh.traces.spans.find(({ name }) => name === 'chat llama');
    assert.equal(chat?.attributes['gen_ai.operation.name'], 'chat');
    assert.ok(Number(chat?.attributes['gen_ai.usage.output_tokens']) > 0);
  });

  it('measures all that its tables of metrics promise', async () => {
    const common = { ...RPC_METRICS, ...TLS_METRICS, ...BUS_METRICS };
    const tables: Record<string, MetricTable> = {
      coordinator: { ...COORDINATOR_METRICS, ...common },
      pmi: { ...PMI_METRICS, ...common },
      llama: { ...PEER_METRICS, ...common },
    };
    for (const [service, table] of Object.entries(tables)) {
      const text = await mesh.metrics(service);
      const missing = Object.values(table).filter(
        ({ name, kind }) => !text.includes(`# TYPE ${name} ${kind}\n`),
      );
      assert.deepEqual(missing, [], service);
    }
    const value = async (service: string, series: string) => {
      const text = await mesh.metrics(service);
      return Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${series} `))
          ?.split(' ')
          .at(-1),
      );
    };
    assert.equal(await value('llama', 'parley_peer_version'), ROUNDS);
    assert.equal(await value('llama', 'parley_peer_ledger_updates'), ROUNDS);
    assert.ok((await value('llama', 'parley_peer_tokens_total{kind="completion"}')) > 0);
    assert.ok((await value('llama', 'parley_peer_tokens_total{kind="trained"}')) > 0);
    assert.equal(await value('llama', 'parley_peer_swap_pause_seconds_count'), ROUNDS);
    assert.equal(await value('llama', 'parley_bus_consumer_lag_messages{consumer="peer-llama"}'), 0);
    assert.equal(await value('pmi', 'parley_pmi_updates_published_total{peer="llama"}'), ROUNDS);
    assert.equal(await value('pmi', 'parley_pmi_round_seconds_count'), ROUNDS);
    assert.equal(await value('coordinator', 'parley_coordinator_runs{state="completed"}'), 1);
    assert.equal(await value('coordinator', 'parley_coordinator_peer_wanted{peer="llama"}'), 0);
    assert.equal(await value('coordinator', 'parley_coordinator_round_seconds_count'), ROUNDS);
    assert.ok(
      (await value('coordinator', 'parley_coordinator_calls_denied_total{reason="PERMISSION_DENIED"}')) >= 1,
    );
    const expiry = await value('pmi', 'parley_tls_certificate_expiry_timestamp_seconds');
    assert.ok(expiry > Date.now() / 1000);
  });

  it('is found in order by the doctor of an operator, a tiny round included', async () => {
    const { code, stdout, stderr } = await mesh.parley(
      mesh.operator,
      ...['doctor', '--round', '--json', '--coordinator', mesh.coordinator],
    );
    const [line = ''] = stdout.split('\n');
    const { findings } = JSON.parse(line) as {
      findings: { subject: string; verdict: string; detail: string }[];
    };
    const amiss = findings.filter(
      ({ verdict, subject }) => verdict !== 'ok' && !subject.startsWith('clock of nats'),
    );
    // The authority of the tests signs for a day.
    const expected = amiss.filter(({ subject }) => !subject.startsWith('certificate of'));
    assert.deepEqual(expected, [], stderr);
    assert.equal(code, 0, stderr);
    const round = findings.find(({ subject }) => subject === 'round in NATS');
    assert.equal(round?.detail, '3 versions, each update once');
  });

  it('keeps a record of what operators asked for, and tells no secret anywhere', async () => {
    const events = await mesh.auditEvents();
    const ofRun = events.filter((event) => event.runId === runId).map(({ actor, method }) => [actor, method]);
    assert.deepEqual(ofRun, [
      ['bob', 'CreateRun'],
      ['bob', 'SubmitPrompts'],
    ]);
    assert.deepEqual(new Set(events.map(({ actor }) => actor)), new Set(['bob', 'operator.parley.internal']));
    const told = [
      mesh.logs(),
      events.map((event) => toJsonString(OperatorActionSchema, event)).join(),
      JSON.stringify(mesh.traces.spans),
      await mesh.metrics('coordinator'),
    ];
    for (const token of Object.values(TOKENS)) assert.ok(told.every((text) => !text.includes(token)));
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COORDINATOR_FIELDS } from '@parley/coordinator';
import { MODEL_FIELDS } from '@parley/models';
import { FETCH_FIELDS, PEER_FIELDS } from '@parley/peer';
import { PMI_FIELDS } from '@parley/pmi';
import { PROCESS_FIELDS, readConfig } from '@parley/runtime';
import type { Field } from '@parley/runtime';
import { find, findHelm, renderWith } from '../support/helm.js';
import type { Rendering } from '../support/helm.js';

type Fields = Readonly<Record<string, Field<unknown>>>;

const helm = await findHelm();
const skip = 'missing' in helm ? helm.missing : false;
const program = 'path' in helm ? helm.path : '';

/** Variables that no field is for. */
const OTHERS = new Set([
  'POD_NAME',
  // Read by the OpenTelemetry SDK.
  'OTEL_TRACES_SAMPLER',
  'OTEL_TRACES_SAMPLER_ARG',
  'OTEL_RESOURCE_ATTRIBUTES',
]);

/** In the chart a step before the peer fetches its model, so that the peer itself has none of the settings for that. */
const OWN_PEER_FIELDS = Object.fromEntries(
  Object.entries(PEER_FIELDS as Fields).filter(([key]) => !(key in MODEL_FIELDS)),
);

/** What the step takes from `model.env`: the variables that are not Parley's. */
const MODEL_ENV = {
  HF_ENDPOINT: 'https://hub.example.com',
  HF_TOKEN: 'hf_x',
  HF_TOKEN_PATH: '/token',
  HF_HOME: '/hf',
  HF_HUB_CACHE: '/hf/hub',
  HF_HUB_OFFLINE: '1',
  AWS_ENDPOINT_URL: 'http://minio:9000',
  AWS_REGION: 'eu-west-1',
  AWS_DEFAULT_REGION: 'eu-west-2',
  AWS_ACCESS_KEY_ID: 'id',
  AWS_SECRET_ACCESS_KEY: 'secret',
  AWS_SESSION_TOKEN: 'session',
  PARLEY_CACHE: '/cache',
  XDG_CACHE_HOME: '/xdg',
};

/** Nothing of it is as the chart has it by itself. */
const VALUES = {
  peers: [
    {
      name: 'ant',
      device: 'webgpu',
      train: 'lora:4:8',
      quantization: 'int8',
      recompute: 'always',
      threads: 3,
      spinning: true,
      maxBatch: 7,
      maxBatchTokens: 900,
      keepVersions: 5,
      blobs: 'file:///shared',
      model: {
        uri: 'https://example.com/m/',
        sha256: 'a'.repeat(64),
        existingSecret: 'hub',
        maxBytes: 1000,
        deadline: '9m',
        env: Object.entries(MODEL_ENV).map(([name, value]) => ({ name, value })),
      },
      env: [{ name: 'EXTRA', value: 'yes' }],
    },
    { name: 'bee', model: { path: '/models/bee' } },
  ],
  coordinator: {
    lease: '7s',
    rateLimit: 99,
    auth: {
      oidc: {
        issuer: 'https://issuer.example.com',
        audience: 'us',
        roleClaim: 'role',
        operators: ['o'],
        viewers: ['v', 'w'],
      },
    },
  },
  pmi: { concurrency: 9 },
  logLevel: 'debug',
  stopping: { drainSeconds: 11 },
  peerCalls: { deadline: '3m', probeInterval: '200ms', probeDeadline: '700ms', lostAfter: '4s' },
  tracing: { otlpEndpoint: 'http://collector:4318', sampleRatio: 0.25 },
};

const EXTERNAL_NATS = {
  nats: { enabled: false },
  externalNats: { url: 'nats://a:1,nats://b:2', mutualTls: false, existingSecret: 'login' },
};

interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: unknown;
}

function envOf(
  rendering: Rendering,
  kind: string,
  name: string,
  container = 0,
  init = false,
): Record<string, string> {
  const { template } = find(rendering, kind, name)['spec'] as {
    template: { spec: { containers: { env: EnvVar[] }[]; initContainers?: { env: EnvVar[] }[] } };
  };
  const list = init ? (template.spec.initContainers ?? []) : template.spec.containers;
  const entries = (list[container]?.env ?? []).map(
    ({ name: key, value }) => [key, value ?? 'from elsewhere'] as const,
  );
  assert.equal(new Set(entries.map(([key]) => key)).size, entries.length, 'no variable twice');
  return Object.fromEntries(entries);
}

const nameOf = ({ env, source }: Field<unknown>) => (source === 'file' ? `${env}_FILE` : env);

/** The configuration that a service would read; secrets, whose files are not here, left out. */
function configOf(env: Record<string, string>, fields: Fields): Record<string, unknown> {
  const secrets = new Set(
    Object.values(fields)
      .filter(({ source }) => source === 'file')
      .map(nameOf),
  );
  const plain = Object.fromEntries(Object.entries(env).filter(([name]) => !secrets.has(name)));
  return readConfig(plain, fields);
}

describe('settings', { skip }, () => {
  const services: [string, Fields, (rendering: Rendering) => Record<string, string>][] = [
    [
      'coordinator',
      { ...PROCESS_FIELDS, ...COORDINATOR_FIELDS },
      (r) => envOf(r, 'Deployment', 'mesh-parley-coordinator'),
    ],
    ['pmi', { ...PROCESS_FIELDS, ...PMI_FIELDS }, (r) => envOf(r, 'Deployment', 'mesh-parley-pmi')],
    [
      'peer',
      { ...PROCESS_FIELDS, ...OWN_PEER_FIELDS },
      (r) => envOf(r, 'StatefulSet', 'mesh-parley-peer-ant'),
    ],
    [
      'fetch-model',
      { logLevel: PROCESS_FIELDS.logLevel, ...FETCH_FIELDS },
      (r) => envOf(r, 'StatefulSet', 'mesh-parley-peer-ant', 0, true),
    ],
  ];

  for (const [service, fields, envIn] of services) {
    it(`of ${service}: the chart can set every one, and sets none that the service does not know`, async () => {
      const renderings = await Promise.all([
        renderWith(program, VALUES),
        renderWith(program, { ...VALUES, tls: { enabled: false }, coordinator: { auth: { mode: 'none' } } }),
        ...['creds', 'user', 'token'].map((login) =>
          renderWith(program, {
            ...VALUES,
            ...EXTERNAL_NATS,
            externalNats: { ...EXTERNAL_NATS.externalNats, login },
          }),
        ),
      ]);
      const set = new Set(renderings.flatMap((rendering) => Object.keys(envIn(rendering))));
      const known = new Set(Object.values(fields).map(nameOf));
      assert.deepEqual(
        [...set].filter((name) => !known.has(name) && !OTHERS.has(name) && name !== 'EXTRA'),
        [],
      );
      assert.deepEqual(
        [...known].filter((name) => !set.has(name)),
        [],
      );
    });
  }

  it('arrive as they are written in the values', async () => {
    const rendering = await renderWith(program, VALUES);
    const configs = Object.fromEntries(
      services.map(([service, fields, envIn]) => [service, configOf(envIn(rendering), fields)]),
    );
    const common = {
      logLevel: 'debug',
      drainDeadlineMs: 11_000,
      otlpEndpoint: 'http://collector:4318',
      natsUrl: 'nats://mesh-parley-nats.ns.svc:4222',
      natsTopology: 'wait',
      natsConnectTimeoutMs: 600_000,
      natsCert: '/etc/parley/tls/tls.crt',
      tlsCa: '/etc/parley/tls/ca.crt',
      monitor: { host: '0.0.0.0', port: 9464 },
    };
    const calls = { callDeadlineMs: 180_000, probeIntervalMs: 200, probeDeadlineMs: 700, lostAfterMs: 4000 };
    const expected: Record<string, Record<string, unknown>> = {
      coordinator: {
        ...common,
        ...calls,
        leaseMs: 7000,
        callsPerMinute: 99,
        auth: 'required',
        tokensFile: '/etc/parley/tokens/tokens',
        oidcIssuer: 'https://issuer.example.com',
        oidcAudience: 'us',
        oidcRoleClaim: 'role',
        oidcOperators: ['o'],
        oidcViewers: ['v', 'w'],
        listen: { host: '0.0.0.0', port: 7400 },
      },
      pmi: { ...common, ...calls, concurrency: 9, listen: { host: '0.0.0.0', port: 7401 } },
      peer: {
        ...common,
        name: 'ant',
        model: '/models/ant',
        stateDir: '/var/lib/parley/state',
        device: 'webgpu',
        train: { kind: 'lora', rank: 4, alpha: 8, seed: 0 },
        quantization: 'int8',
        recompute: 'always',
        threads: 3,
        spinning: true,
        maxBatch: 7,
        maxBatchTokens: 900,
        keepVersions: 5,
        blobs: 'file:///shared',
        listen: { host: '0.0.0.0', port: 7410 },
        advertise: '$(POD_NAME).mesh-parley-peer-ant.ns.svc:7410',
      },
      'fetch-model': {
        logLevel: 'debug',
        uri: 'https://example.com/m/',
        model: '/models/ant',
        modelSha256: 'a'.repeat(64),
        modelMaxBytes: 1000,
        modelDeadlineMs: 540_000,
        hfEndpoint: 'https://hub.example.com',
        awsRegion: 'eu-west-1',
      },
    };
    for (const [service, wanted] of Object.entries(expected)) {
      const found = configs[service];
      assert.deepEqual(
        Object.fromEntries(Object.keys(wanted).map((key) => [key, found[key]])),
        wanted,
        service,
      );
    }
  });

  it('of a demo peer are what the services have by themselves', async () => {
    const rendering = await renderWith(program, {});
    const env = envOf(rendering, 'StatefulSet', 'mesh-parley-peer-llama');
    const config = configOf(env, PEER_FIELDS);
    for (const [key, { fallback }] of Object.entries(PEER_FIELDS as Fields)) {
      const own = ['listen', 'natsUrl', 'natsConnectTimeoutMs', 'natsTopology'].includes(key);
      if (fallback !== undefined && !own) assert.deepEqual(config[key], fallback, key);
    }
  });
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { findNatsServer, natsUsers } from '@parley/bus';
import { find, findHelm, renderWith } from '../support/helm.js';
import type { Manifest, Rendering } from '../support/helm.js';

const helm = await findHelm();
const skip = 'missing' in helm ? helm.missing : false;
const program = 'path' in helm ? helm.path : '';
const rendered = async (values: object) => {
  const rendering = await renderWith(program, values);
  assert.equal(rendering.error, '');
  return rendering;
};
const peer = (name: string, more: object = {}) => ({ name, model: { path: `/models/${name}` }, ...more });
const TWO = [peer('ant'), peer('bee')];

const podOf = ({ spec }: Manifest) => spec.template.spec;
const decoded = (secret: Manifest, key: string) => Buffer.from(secret['data'][key], 'base64').toString();

describe('templates: peers', { skip }, () => {
  it('have what is said of each, and what is said of all', async () => {
    const rendering = await rendered({
      peerDefaults: { train: 'lora:8', resources: { limits: { memory: '3Gi' } }, nodeSelector: { a: 'b' } },
      peers: [
        peer('ant'),
        peer('bee', { train: 'full', resources: { limits: { memory: '9Gi', 'nvidia.com/gpu': 1 } } }),
      ],
    });
    const [ant, bee] = ['ant', 'bee'].map((name) =>
      podOf(find(rendering, 'StatefulSet', `mesh-parley-peer-${name}`)),
    );
    const train = (pod: { containers: { env: { name: string; value: string }[] }[] }) =>
      pod.containers[0].env.find(({ name }) => name === 'PARLEY_TRAIN')?.value;
    assert.deepEqual([train(ant), train(bee)], ['lora:8', 'full']);
    assert.deepEqual(ant.containers[0].resources.limits, { memory: '3Gi' });
    assert.deepEqual(bee.containers[0].resources.limits, { memory: '9Gi', 'nvidia.com/gpu': 1 });
    assert.deepEqual([ant.nodeSelector, bee.nodeSelector], [{ a: 'b' }, { a: 'b' }]);
  });

  it('run from the image that their device needs, or from one of their own', async () => {
    const rendering = await rendered({
      image: { tag: '9.9.9' },
      peers: [
        peer('ant', { device: 'cuda' }),
        peer('bee', { device: 'webgpu' }),
        peer('cat', { image: 'example.com/mine:1' }),
      ],
    });
    const images = ['ant', 'bee', 'cat'].map(
      (name) => podOf(find(rendering, 'StatefulSet', `mesh-parley-peer-${name}`)).containers[0].image,
    );
    assert.deepEqual(images, [
      'ghcr.io/parley-mesh/parley-peer-cuda:9.9.9',
      'ghcr.io/parley-mesh/parley-peer:9.9.9',
      'example.com/mine:1',
    ]);
  });

  it('keep weights on a volume of their own, and fetch a model before they start', async () => {
    const rendering = await rendered({
      peers: [
        peer('ant', {
          model: { uri: 'https://example.com/m/' },
          state: { size: '7Gi', storageClass: 'fast' },
        }),
        peer('bee'),
      ],
    });
    const ant = find(rendering, 'StatefulSet', 'mesh-parley-peer-ant');
    const claims = ant['spec'].volumeClaimTemplates as Manifest[];
    assert.deepEqual(
      claims.map(({ metadata, spec }) => [
        metadata.name,
        spec.resources.requests.storage,
        spec.storageClassName,
      ]),
      [
        ['state', '7Gi', 'fast'],
        ['models', '20Gi', undefined],
      ],
    );
    assert.deepEqual(
      podOf(ant).initContainers.map(({ name }: { name: string }) => name),
      ['fetch-model'],
    );
    const bee = find(rendering, 'StatefulSet', 'mesh-parley-peer-bee');
    assert.deepEqual([podOf(bee).initContainers, bee['spec'].volumeClaimTemplates.length], [undefined, 1]);
    assert.equal(bee['spec'].replicas, 1);
    assert.equal(bee['spec'].persistentVolumeClaimRetentionPolicy.whenDeleted, 'Retain');
  });
});

describe('templates: models', { skip }, () => {
  const waysOut = async (uri: string, networkPolicy: object = {}) => {
    const rendering = await rendered({
      peers: [peer('ant', { model: { uri } }), peer('bee')],
      networkPolicy,
    });
    const rules = find(rendering, 'NetworkPolicy', 'mesh-parley-peers')['spec'].egress as Manifest[];
    const init = podOf(find(rendering, 'StatefulSet', 'mesh-parley-peer-ant')).initContainers[0];
    assert.equal(init.env.find(({ name }: { name: string }) => name === 'PARLEY_MODEL_URI').value, uri);
    return rules
      .flatMap(({ ports }) => (ports ?? []) as { port: number }[])
      .flatMap(({ port }) => (port === 4222 ? [] : [port]));
  };

  it('may be fetched from wherever they lie, and peers reach that and nothing else', async () => {
    for (const uri of ['hf://org/model@v1', 's3://bucket/a', 'https://example.com/m/'])
      assert.deepEqual(await waysOut(uri), [443, 80], uri);
    assert.deepEqual(await waysOut('file:///volume/m'), []);
    assert.deepEqual(await waysOut('s3://bucket/a', { modelsPorts: [9000] }), [9000]);
    await assert.rejects(waysOut('gs://bucket/a'), /uri/);
  });
});

describe('templates: certificates', { skip }, () => {
  it('state who their holder is and where it is reached, and are signed by the authority of the release', async () => {
    const rendering = await rendered({ peers: TWO, coordinator: { extraDnsNames: ['mesh.example.com'] } });
    const authority = new X509Certificate(decoded(find(rendering, 'Secret', 'mesh-parley-ca'), 'tls.crt'));
    const service = (name: string) => [name, `${name}.ns`, `${name}.ns.svc`, `${name}.ns.svc.cluster.local`];
    const expected: Record<string, string[]> = {
      coordinator: [
        'coordinator.parley.internal',
        'localhost',
        ...service('mesh-parley-coordinator'),
        'mesh.example.com',
      ],
      pmi: ['pmi.parley.internal', ...service('mesh-parley-pmi')],
      operator: ['operator.parley.internal'],
      topology: ['topology.parley.internal'],
      'peer-ant': [
        'ant.peer.parley.internal',
        ...service('mesh-parley-peer-ant'),
        ...service('mesh-parley-peer-ant-0.mesh-parley-peer-ant'),
      ],
      nats: ['localhost', ...service('mesh-parley-nats'), ...service('*.mesh-parley-nats-servers').slice(1)],
    };
    for (const [component, names] of Object.entries(expected)) {
      const secret = find(rendering, 'Secret', `mesh-parley-${component}-tls`);
      const certificate = new X509Certificate(decoded(secret, 'tls.crt'));
      assert.ok(certificate.verify(authority.publicKey), component);
      assert.equal(decoded(secret, 'ca.crt').trim(), authority.toString().trim());
      assert.deepEqual(
        certificate.subjectAltName?.split(', '),
        names.map((name) => `DNS:${name}`),
        component,
      );
      const days = (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / 86_400_000;
      assert.equal(Math.round(days), 365);
    }
  });

  it('are asked of cert-manager with the same names', async () => {
    const own = await rendered({ peers: TWO });
    const asked = await rendered({ peers: TWO, tls: { mode: 'certManager' } });
    const certificates = asked.manifests.filter(({ kind, spec }) => kind === 'Certificate' && !spec.isCA);
    assert.equal(certificates.length, 7);
    for (const { spec } of certificates) {
      const generated = new X509Certificate(decoded(find(own, 'Secret', spec.secretName), 'tls.crt'));
      assert.deepEqual(
        spec.dnsNames.map((name: string) => `DNS:${name}`),
        generated.subjectAltName?.split(', '),
      );
      // nats-server maps no certificate without a subject.
      assert.equal(`CN=${spec.commonName}`, generated.subject);
    }
    assert.equal(
      asked.manifests.filter(({ kind, metadata }) => kind === 'Secret' && metadata.name.endsWith('-tls'))
        .length,
      0,
    );
  });

  it('that are there already are used by the names they have', async () => {
    const components = ['coordinator', 'pmi', 'nats', 'operator', 'topology', 'peer-ant', 'peer-bee'];
    const existing = Object.fromEntries(components.map((component) => [component, `my-${component}`]));
    const rendering = await rendered({
      peers: TWO,
      tls: { mode: 'existing', existing },
      coordinator: { auth: { tokens: { existingSecret: 'my-tokens' } } },
    });
    assert.deepEqual(
      rendering.manifests.filter(({ kind }) => kind === 'Secret'),
      [],
    );
    const used = new Set(
      rendering.manifests
        .filter(({ spec }) => spec?.template?.spec)
        .flatMap(
          (manifest) =>
            (podOf(manifest).volumes ?? []) as {
              secret?: { secretName: string };
              projected?: { sources: { secret?: { name: string } }[] };
            }[],
        )
        .flatMap(({ secret }) => secret?.secretName ?? []),
    );
    assert.deepEqual(
      [...used].sort(),
      [...components.filter((name) => name !== 'operator').map((name) => `my-${name}`), 'my-tokens'].sort(),
    );
  });
});

describe('templates: NATS', { skip }, () => {
  const confOf = (rendering: Rendering) =>
    find(rendering, 'ConfigMap', 'mesh-parley-nats')['data']['nats.conf'] as string;

  it('knows the clients that the code says, with the same permissions', async () => {
    const conf = confOf(await rendered({ peers: TWO }));
    const users = conf
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line.startsWith('{"'))
      .map((line) => JSON.parse(line) as ReturnType<typeof natsUsers>[number]);
    const sorted = (list: ReturnType<typeof natsUsers>) =>
      list
        .map(({ user, permissions: { publish, subscribe } }) => ({
          user,
          publish: [...publish].sort(),
          subscribe: [...subscribe].sort(),
        }))
        .sort((a, b) => a.user.localeCompare(b.user));
    assert.deepEqual(sorted(users), sorted(natsUsers(['ant', 'bee'])));
  });

  for (const [what, values] of [
    ['one server', {}],
    ['a cluster of three', { nats: { replicas: 3 } }],
    ['no certificates', { tls: { enabled: false }, coordinator: { auth: { mode: 'none' } } }],
  ] as const)
    it(`has a configuration that nats-server takes: ${what}`, async () => {
      const { path: server } = await findNatsServer();
      // The oldest that is supported does not know sync_interval.
      const rendering = await rendered({
        peers: TWO,
        ...values,
        nats: { syncInterval: '', ...('nats' in values ? values.nats : {}) },
      });
      const folder = await mkdtemp(join(tmpdir(), 'parley-nats-conf-'));
      try {
        let conf = confOf(rendering).replaceAll('/data', folder).replaceAll('/var/run/nats', folder);
        for (const [file, key] of [
          ['tls.crt', 'tls.crt'],
          ['tls.key', 'tls.key'],
          ['ca.crt', 'ca.crt'],
        ] as const) {
          if (!conf.includes(file)) continue;
          await writeFile(
            join(folder, file),
            decoded(find(rendering, 'Secret', 'mesh-parley-nats-tls'), key),
          );
          conf = conf.replaceAll(`/etc/parley/tls/${file}`, join(folder, file));
        }
        const path = join(folder, 'nats.conf');
        await writeFile(path, conf);
        const { status, stderr } = spawnSync(server, ['-t', '-c', path], {
          encoding: 'utf8',
          env: { ...process.env, SERVER_NAME: 'nats-0' },
        });
        assert.equal(status, 0, stderr);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });

  it('is that of somebody else where it is said so', async () => {
    const rendering = await rendered({
      peers: TWO,
      nats: { enabled: false },
      externalNats: {
        url: 'nats://elsewhere:4222',
        mutualTls: false,
        existingSecret: 'login',
        login: 'user',
      },
    });
    assert.ok(!rendering.manifests.some(({ metadata }) => metadata.name.startsWith('mesh-parley-nats')));
    const { env } = podOf(find(rendering, 'Deployment', 'mesh-parley-pmi')).containers[0] as {
      env: { name: string; value?: string; valueFrom?: { secretKeyRef: object } }[];
    };
    const values = Object.fromEntries(env.map(({ name, value, valueFrom }) => [name, value ?? valueFrom]));
    assert.equal(values['PARLEY_NATS_URL'], 'nats://elsewhere:4222');
    assert.equal(values['PARLEY_NATS_CERT'], undefined);
    assert.ok(values['PARLEY_NATS_PASSWORD_FILE']);
  });
});

describe('templates: topology', { skip }, () => {
  it('is another job for other peers or another version, and the same one otherwise', async () => {
    const nameFor = async (values: object) => {
      const { manifests } = await rendered(values);
      return manifests.find(({ kind }) => kind === 'Job')!.metadata.name;
    };
    const names = await Promise.all([
      nameFor({ peers: TWO }),
      nameFor({ peers: TWO, coordinator: { replicas: 3 }, logLevel: 'debug' }),
      nameFor({ peers: [...TWO, peer('cat')] }),
      nameFor({ peers: TWO, image: { tag: '9.9.9' } }),
    ]);
    assert.equal(names[0], names[1]);
    assert.equal(new Set(names).size, 3);
  });
});

describe('templates: KEDA', { skip }, () => {
  it('scales pmi by what waits, the coordinator by its runs, a peer by need, and leaves out who must stay', async () => {
    const rendering = await rendered({
      peers: [peer('ant'), peer('bee', { scaleToZero: false })],
      keda: { enabled: true },
    });
    const scaled = rendering.manifests.filter(({ kind }) => kind === 'ScaledObject');
    assert.deepEqual(
      scaled.map(({ metadata, spec }) => [
        metadata.name,
        spec.minReplicaCount,
        spec.maxReplicaCount,
        spec.triggers.map(({ type }: { type: string }) => type),
      ]),
      [
        ['mesh-parley-pmi', 1, 5, ['nats-jetstream']],
        ['mesh-parley-coordinator', 2, 5, ['metrics-api']],
        ['mesh-parley-peer-ant', 0, 1, ['metrics-api', 'nats-jetstream']],
      ],
    );
    assert.equal(find(rendering, 'StatefulSet', 'mesh-parley-peer-bee')['spec'].replicas, 1);
  });
});

describe('templates: refusals', { skip }, () => {
  const cases: [string, object, RegExp][] = [
    ['two peers of one name', { peers: [peer('ant'), peer('ant')] }, /peers: two are called ant/],
    ['one peer', { peers: [peer('ant')] }, /peers.*(minItems|at least|2)/s],
    ['a name that no certificate may have', { peers: [peer('Ant'), peer('bee')] }, /peers.*name|pattern/s],
    [
      'a peer without a model',
      { peers: [{ name: 'ant' }, peer('bee')] },
      /peers\[ant\]: give it a model\.uri to fetch, or a model\.path/,
    ],
    ['an unknown value', { peers: TWO, coordinator: { replica: 3 } }, /replica/],
    [
      'tokens in plain text',
      { peers: TWO, tls: { enabled: false } },
      /coordinator\.auth\.mode must be none where tls\.enabled is false/,
    ],
    [
      'OpenID Connect without an issuer',
      { peers: TWO, coordinator: { auth: { mode: 'oidc' } } },
      /coordinator\.auth\.oidc\.issuer is needed/,
    ],
    [
      'a certificate of yours that is not named',
      { peers: TWO, tls: { mode: 'existing', existing: { coordinator: 'c' } } },
      /tls\.existing\.[\w-]+ is needed/,
    ],
    [
      'a NATS of its own and another',
      { peers: TWO, externalNats: { url: 'nats://elsewhere:4222' } },
      /nats\.enabled and externalNats\.url contradict/,
    ],
    ['no NATS at all', { peers: TWO, nats: { enabled: false } }, /externalNats\.url/],
    [
      'less time to stop than stopping takes',
      { peers: TWO, pmi: { terminationGracePeriodSeconds: 10 } },
      /pmi\.terminationGracePeriodSeconds is 10, but stopping takes up to 30 s/,
    ],
    [
      'a certificate that is renewed before it is made',
      { peers: TWO, tls: { generated: { days: 30 } } },
      /renewBeforeDays must be less than tls\.generated\.days/,
    ],
    [
      'KEDA without a place to look at',
      {
        peers: TWO,
        keda: { enabled: true },
        nats: { enabled: false },
        externalNats: { url: 'nats://elsewhere:4222' },
      },
      /externalNats\.monitoringEndpoint is needed/,
    ],
    ['an even number of servers', { peers: TWO, nats: { replicas: 2 } }, /nats.*replicas/s],
  ];
  for (const [what, values, message] of cases)
    it(`refuses ${what}`, async () => {
      const { error, manifests } = await renderWith(program, values);
      assert.deepEqual(manifests, []);
      assert.match(error, message);
    });
});

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createSilentLog, deferred } from '@parley/runtime';
import type { Identity } from '@parley/runtime';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { createTestAuthority } from '@parley/runtime/testing';
import { natsBlobs } from './blobs.js';
import { connectBus, inboxPrefix } from './connect.js';
import type { Bus } from './connect.js';
import { consume } from './consume.js';
import { CONSUMERS } from './consumer.js';
import { openKv } from './kv.js';
import { acquireLease } from './lease.js';
import { natsUsers } from './permissions.js';
import { createPublisher } from './publish.js';
import { readFrom, readLast, readLastPermitted } from './read.js';
import { BUCKETS, STREAMS, filters, peerBlobStore, subjects } from './subjects.js';
import { text } from './test-support.js';
import { startNatsServer } from './testing.js';
import type { TestNatsServer } from './testing.js';
import { awaitTopology, ensureTopology } from './topology.js';

const PEERS = ['ant', 'bee'];
const COORDINATOR = { role: 'coordinator' } as const;
const PMI = { role: 'pmi' } as const;
const ANT = { role: 'peer', name: 'ant' } as const;
const BIG = 200_000;

/** nats-server that tells clients apart by their certificates alone, and gives each its permissions. */
describe('permissions of NATS', () => {
  let folder = '';
  let server: TestNatsServer;
  let authority: Awaited<ReturnType<typeof createTestAuthority>>;
  const open: Bus[] = [];

  const connect = async (identity: Identity): Promise<Bus> => {
    const name = identity.role === 'peer' ? identity.name : identity.role;
    const { ca, cert, key } = await authority.issue(name, { identity });
    const bus = await connectBus({
      servers: server.url,
      name,
      identity,
      tls: { caFile: ca, certFile: cert, keyFile: key },
      makesTopology: identity.role === 'topology',
      requestTimeoutMs: 1500,
      log: createSilentLog(),
    });
    open.push(bus);
    return bus;
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'parley-permissions-'));
    authority = await createTestAuthority(folder);
    const { ca, cert, key } = await authority.issue('nats');
    const users = natsUsers(PEERS).map(({ user, permissions }) => ({ user, permissions }));
    server = await startNatsServer({
      maxPayloadBytes: 128 * 1024,
      config: [
        `tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${ca}", verify_and_map: true }`,
        `authorization { users: ${JSON.stringify(users)} }`,
      ].join('\n'),
    });
    await ensureTopology(await connect({ role: 'topology' }), { peers: PEERS });
  });
  after(async () => {
    for (const bus of open) await bus.close(200);
    await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('let every role do its work, from announcement to version, small and large', async () => {
    const [coordinator, pmi, ant] = [await connect(COORDINATOR), await connect(PMI), await connect(ANT)];
    for (const [bus, identity] of [
      [coordinator, COORDINATOR],
      [pmi, PMI],
      [ant, ANT],
    ] as const)
      await awaitTopology(bus, identity, { deadlineMs: 1000 });

    const peers = await openKv(ant, BUCKETS.peers, StringValueSchema);
    await peers.put('ant', text('ant:1'));
    const directory = await openKv(coordinator, BUCKETS.peers, StringValueSchema);
    assert.deepEqual(
      (await directory.list()).map(({ key }) => key),
      ['ant'],
    );
    const runs = await openKv(coordinator, BUCKETS.runs, StringValueSchema);
    await runs.create('r', text('running'));
    await (await acquireLease(coordinator, { key: 'coordinator.r', holder: 'c1' })).release();

    const publisher = (bus: Bus, source: string) => createPublisher(bus, { source, blobs: natsBlobs(bus) });
    const large = text('x'.repeat(BIG));
    const monitored = { subject: subjects.monitored('r', 0, 0), id: 'r/0/monitored' };
    await publisher(coordinator, 'c').publishOnce(StringValueSchema, text('said'), monitored);
    const generated = { subject: subjects.generated('r', 0), id: 'r/0' };
    await publisher(coordinator, 'c').publishOnce(StringValueSchema, large, generated);
    assert.ok((await publisher(coordinator, 'c').publishOnce(StringValueSchema, large, generated)).duplicate);

    const seen: number[] = [];
    const settled = deferred<void>();
    await using _rounds = await consume(
      pmi,
      {
        ...CONSUMERS.pmi(),
        schema: StringValueSchema,
        blobs: natsBlobs(pmi),
        onPoison: async ({ error }) => settled.reject(error),
      },
      async ({ message }) => {
        const update = { subject: subjects.update('ant', 'r', 0), id: 'r/0/ant' };
        const blobs = natsBlobs(pmi, { store: peerBlobStore('ant') });
        await publisher(pmi, 'pmi').publishOnce(StringValueSchema, message, { ...update, blobs });
        const last = { stream: STREAMS.updates, schema: StringValueSchema, blobs, subject: update.subject };
        assert.equal((await readLast(pmi, last))?.message.value.length, BIG);
      },
    );
    await using _updates = await consume(
      ant,
      {
        ...CONSUMERS.peer('ant'),
        schema: StringValueSchema,
        blobs: natsBlobs(ant),
        onPoison: async ({ error }) => settled.reject(error),
      },
      async ({ message }) => {
        seen.push(message.value.length);
        const blobs = natsBlobs(ant, { store: peerBlobStore('ant') });
        const weights = await blobs.put('weights/1', new Uint8Array(BIG));
        assert.equal((await blobs.get(weights.uri, weights.digest)).length, BIG);
        const own = createPublisher(ant, { source: 'ant', blobs });
        const version = { subject: subjects.version('ant', 1), id: 'ant/1' };
        await own.publishOnce(StringValueSchema, text('v1'), version);
        assert.ok((await own.publishOnce(StringValueSchema, text('v1'), version)).duplicate);
        const last = {
          stream: STREAMS.versions,
          schema: StringValueSchema,
          blobs,
          subject: filters.versions('ant'),
        };
        assert.equal((await readLastPermitted(ant, last))?.message.value, 'v1');
        await own.append(StringValueSchema, text('no'), {
          subject: subjects.event('r', 'rejected', 'peer-ant'),
          id: 'e',
        });
        settled.resolve();
      },
    );
    await settled.promise;
    assert.deepEqual(seen, [BIG]);
    const versions = { stream: STREAMS.versions, schema: StringValueSchema, blobs: natsBlobs(coordinator) };
    assert.equal(
      (await readLast(coordinator, { ...versions, subject: filters.versions() }))?.message.value,
      'v1',
    );
    const operator = await connect({ role: 'operator' });
    for await (const { message } of readFrom(operator, { ...versions, blobs: natsBlobs(operator) }))
      assert.equal(message.value, 'v1');
  });

  const denied: Record<string, { identity: Identity; publish: string[]; subscribe: string[] }> = {
    'a peer': {
      identity: ANT,
      publish: [
        'parley.versions.bee.1',
        'parley.updates.ant.r.1',
        'parley.updates.bee.r.1',
        'parley.prompts.r',
        'parley.rounds.generated.r.1',
        'parley.rounds.monitored.r.1-0',
        'parley.rounds.scored.r.1',
        'parley.events.r.guard.peer-ant',
        'parley.events.r.rejected.peer-bee',
        'parley.events.r.audit.coordinator',
        '$KV.parley-peers.bee',
        '$KV.parley-runs.r',
        '$KV.parley-leases.coordinator.r',
        '$O.parley-peer-bee.C.x',
        '$O.parley-blobs.M.x',
        '$JS.ACK.UPDATES.peer-bee.1.1.1.1.0',
        '$JS.API.CONSUMER.MSG.NEXT.UPDATES.peer-bee',
        '$JS.API.CONSUMER.MSG.NEXT.ROUNDS.pmi',
        '$JS.API.STREAM.MSG.GET.UPDATES',
        '$JS.API.STREAM.MSG.GET.VERSIONS',
        '$JS.API.STREAM.MSG.GET.ROUNDS',
        '$JS.API.DIRECT.GET.KV_parley-runs',
        '$JS.API.DIRECT.GET.OBJ_parley-peer-bee.x',
        '$JS.API.CONSUMER.CREATE.UPDATES.spy.parley.updates.bee.*.*',
        '$JS.API.CONSUMER.CREATE.VERSIONS.spy.parley.versions.bee.*',
        '$JS.API.CONSUMER.CREATE.VERSIONS.spy',
        '$JS.API.CONSUMER.CREATE.VERSIONS',
        '$JS.API.CONSUMER.CREATE.PROMPTS.spy',
        '$JS.API.CONSUMER.DURABLE.CREATE.UPDATES.peer-ant',
        '$JS.API.CONSUMER.DELETE.UPDATES.peer-bee',
        '$JS.API.STREAM.INFO.UPDATES',
        '$JS.API.STREAM.DELETE.VERSIONS',
        '$JS.API.STREAM.UPDATE.VERSIONS',
        '$JS.API.STREAM.PURGE.VERSIONS',
        '$JS.API.STREAM.PURGE.OBJ_parley-peer-bee',
        '$JS.API.STREAM.CREATE.MINE',
        '_INBOX_coordinator.x.y',
      ],
      subscribe: ['>', 'parley.>', '_INBOX.>', '_INBOX_peer-bee.>', '_INBOX_coordinator.>', '$JS.>', '$KV.>'],
    },
    pmi: {
      identity: PMI,
      publish: [
        'parley.prompts.r',
        'parley.rounds.generated.r.1',
        'parley.versions.ant.2',
        'parley.events.r.guard.coordinator',
        '$KV.parley-peers.ant',
        '$KV.parley-leases.coordinator.r',
        '$JS.API.STREAM.PURGE.UPDATES',
        '$JS.API.STREAM.DELETE.UPDATES',
        '$JS.API.CONSUMER.DELETE.UPDATES.peer-ant',
        '$JS.API.CONSUMER.DURABLE.CREATE.UPDATES.mine',
        '$JS.ACK.UPDATES.peer-ant.1.1.1.1.0',
      ],
      subscribe: ['parley.>', '_INBOX_peer-ant.>'],
    },
    'the coordinator': {
      identity: COORDINATOR,
      publish: [
        'parley.updates.ant.r.1',
        'parley.versions.ant.2',
        'parley.rounds.scored.r.1',
        'parley.events.r.rejected.peer-ant',
        '$KV.parley-peers.ant',
        '$O.parley-peer-ant.C.x',
        '$JS.API.STREAM.PURGE.ROUNDS',
        '$JS.API.STREAM.MSG.DELETE.ROUNDS',
        '$JS.API.CONSUMER.DELETE.ROUNDS.pmi',
        '$JS.ACK.ROUNDS.pmi.1.1.1.1.0',
      ],
      subscribe: ['parley.>', '_INBOX_pmi.>'],
    },
    'an operator': {
      identity: { role: 'operator' },
      publish: [
        'parley.prompts.r',
        'parley.updates.ant.r.1',
        'parley.versions.ant.2',
        '$KV.parley-runs.r',
        '$JS.API.STREAM.CREATE.MINE',
        '$JS.API.STREAM.PURGE.ROUNDS',
        '$JS.API.CONSUMER.DELETE.ROUNDS.pmi',
        '$JS.ACK.ROUNDS.pmi.1.1.1.1.0',
      ],
      subscribe: ['parley.>'],
    },
    'the maker of the topology': {
      identity: { role: 'topology' },
      publish: ['parley.prompts.r', 'parley.updates.ant.r.1', 'parley.versions.ant.2', '$KV.parley-runs.r'],
      subscribe: ['parley.>'],
    },
  };
  for (const [who, { identity, publish, subscribe }] of Object.entries(denied)) {
    it(`keep ${who} from everything else`, async () => {
      const bus = await connect(identity);
      const refusals = new Set<string>();
      const listening = (async () => {
        for await (const status of bus.connection.status()) {
          const { error } = status as { error?: { operation?: string; subject?: string } };
          if (error?.subject !== undefined) refusals.add(`${error.operation} ${error.subject}`);
        }
      })();
      for (const subject of publish) {
        bus.connection.publish(subject, '{}', { reply: `${inboxPrefix(identity)}.reply` });
        await bus.connection.flush();
      }
      for (const subject of subscribe) {
        bus.connection.subscribe(subject, { callback: () => undefined });
        await bus.connection.flush();
      }
      await bus.close(200);
      await listening;
      const wanted = [
        ...publish.map((subject) => `publish ${subject}`),
        ...subscribe.map((subject) => `subscription ${subject}`),
      ];
      assert.deepEqual(
        wanted.filter((refusal) => !refusals.has(refusal)),
        [],
      );
    });
  }

  it('are for nobody whose certificate has no subject, and the error says so', async () => {
    const { ca, cert, key } = await authority.issue('bare', { identity: { role: 'pmi' }, subject: '' });
    await assert.rejects(
      connectBus({ servers: server.url, name: 'x', tls: { caFile: ca, certFile: cert, keyFile: key } }),
      { reason: 'NATS_DENIED', message: /the certificate has no subject/ },
    );
  });

  it('let nobody in without a certificate that names a client of the mesh', async () => {
    const { ca } = await authority.issue('x');
    const strangers = [
      { caFile: ca },
      await authority
        .issue('nameless')
        .then(({ cert, key }) => ({ caFile: ca, certFile: cert, keyFile: key })),
      await authority
        .issue('cat', { identity: { role: 'peer', name: 'cat' } })
        .then(({ cert, key }) => ({ caFile: ca, certFile: cert, keyFile: key })),
    ];
    for (const tls of strangers) {
      await assert.rejects(
        connectBus({ servers: server.url, name: 'x', tls, connectTimeoutMs: 700 }),
        (error: Error) =>
          /NATS_DENIED|NATS_UNREACHABLE/.test((error as unknown as { reason: string }).reason),
      );
    }
  });
});

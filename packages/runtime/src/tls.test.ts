import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { EchoService } from './fixtures/echo_pb.js';
import {
  ParleyError,
  createClient,
  createRegistry,
  createSilentLog,
  identityName,
  identityOf,
  implement,
  observeExpiry,
  openTls,
  startGrpcServer,
} from './index.js';
import type { Authorize, Tls } from './index.js';
import type { TlsFiles } from './certificate-files.js';
import { createTestAuthority } from './testing.js';
import type { TestAuthority } from './testing.js';

const OPTIONS = { log: createSilentLog(), refreshMs: 50 };

function tlsOf({ ca, cert, key }: TlsFiles): Tls {
  return openTls({ tlsCa: ca, tlsCert: cert, tlsKey: key }, OPTIONS)!;
}

async function setUp(clients: 'required' | 'optional' = 'required') {
  const folder = await mkdtemp(join(tmpdir(), 'parley-tls-'));
  const authority = await createTestAuthority(folder);
  const service = implement(EchoService, {
    echo: async (_, { actor }) => ({ text: actor }),
    async *count() {},
  });
  const authorize: Authorize = async ({ method, certificate }) => {
    const identity = certificate && identityOf(certificate);
    if (identity?.role === 'coordinator') return identityName(identity);
    throw new ParleyError('PERMISSION_DENIED', `${method} is for the coordinator`);
  };
  const server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    services: [service],
    log: createSilentLog(),
    credentials: tlsOf(await authority.issue('server', { identity: { role: 'peer', name: 'ant' } })).server(
      clients,
    ),
    authorize,
  });
  return {
    folder,
    authority,
    server,
    /** A client with a certificate of its own, or none. */
    client: (tls: Tls | undefined) =>
      createClient(EchoService, server.address, {
        deadlineMs: 3000,
        ...(tls && { credentials: tls.client() }),
      }),
    async [Symbol.asyncDispose]() {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function issue(authority: TestAuthority, role: 'coordinator' | 'pmi'): Promise<Tls> {
  return tlsOf(await authority.issue(role, { identity: { role } }));
}

test('a call within the mesh is let through by the identity of its certificate, and the handler knows it', async () => {
  await using mesh = await setUp();
  using coordinator = mesh.client(await issue(mesh.authority, 'coordinator'));
  assert.equal((await coordinator.echo({})).text, 'coordinator.parley.internal');
  using pmi = mesh.client(await issue(mesh.authority, 'pmi'));
  await assert.rejects(pmi.echo({}), { reason: 'PERMISSION_DENIED', code: 'PERMISSION_DENIED' });
});

test('callers without a certificate, with one of another authority, or in plain text get nowhere', async () => {
  await using mesh = await setUp();
  const stranger = await createTestAuthority(mesh.folder, 'stranger');
  const forged = await stranger.issue('forged', { identity: { role: 'coordinator' } });
  // It trusts the server, so that only the server's refusal is left.
  using client = mesh.client(tlsOf({ ...forged, ca: join(mesh.folder, 'ca.crt') }));
  await assert.rejects(client.echo({}), { code: 'UNAVAILABLE' });
  using plain = mesh.client(undefined);
  await assert.rejects(plain.echo({}), { code: 'UNAVAILABLE' });
});

test('where certificates are optional, one that nobody vouches for counts as none', async () => {
  await using mesh = await setUp('optional');
  const stranger = await createTestAuthority(mesh.folder, 'stranger');
  const forged = await stranger.issue('forged', { identity: { role: 'coordinator' } });
  using client = mesh.client(tlsOf({ ...forged, ca: join(mesh.folder, 'ca.crt') }));
  await assert.rejects(client.echo({}), { reason: 'PERMISSION_DENIED' });
});

test('a client refuses a server that another authority signed', async () => {
  await using mesh = await setUp();
  const stranger = await createTestAuthority(mesh.folder, 'stranger');
  using client = mesh.client(
    tlsOf(await stranger.issue('coordinator', { identity: { role: 'coordinator' } })),
  );
  await assert.rejects(client.echo({}), { code: 'UNAVAILABLE' });
});

test('a rotated certificate is served without a restart', async () => {
  await using mesh = await setUp();
  const served = () =>
    new Promise<string>((resolve, reject) => {
      const { port } = mesh.server;
      const socket = connect(
        { host: '127.0.0.1', port, ALPNProtocols: ['h2'], rejectUnauthorized: false },
        () => {
          resolve(socket.getPeerCertificate().serialNumber);
          socket.destroy();
        },
      );
      socket.once('error', reject);
    });
  const before = await served();
  await rm(join(mesh.folder, 'server.key'));
  await wait(4 * OPTIONS.refreshMs);
  assert.equal(await served(), before, 'what was read before serves until there is something better');
  await mesh.authority.issue('server', { identity: { role: 'peer', name: 'ant' } });
  const deadlineMs = performance.now() + 5000;
  while ((await served()) === before)
    assert.ok(performance.now() < deadlineMs, 'the new certificate is served');
  using coordinator = mesh.client(await issue(mesh.authority, 'coordinator'));
  assert.equal((await coordinator.echo({})).text, 'coordinator.parley.internal');
});

test('files that are missing, no certificates, or do not belong together are named', async () => {
  await using mesh = await setUp();
  const [good, other] = [await mesh.authority.issue('a'), await mesh.authority.issue('b')];
  assert.equal(openTls({ tlsCa: undefined, tlsCert: undefined, tlsKey: undefined }, OPTIONS), undefined);
  assert.throws(() => openTls({ tlsCa: good.ca, tlsCert: undefined, tlsKey: undefined }, OPTIONS), {
    reason: 'CONFIG_INVALID',
    message: /belong together/,
  });
  assert.throws(() => tlsOf({ ...good, ca: '/nowhere' }), {
    message: /PARLEY_TLS_CA_FILE: \/nowhere is no readable/,
  });
  await writeFile(join(mesh.folder, 'junk'), 'junk');
  assert.throws(() => tlsOf({ ...good, cert: join(mesh.folder, 'junk') }), {
    message: /PARLEY_TLS_CERT_FILE/,
  });
  assert.throws(() => tlsOf({ ...good, key: other.key }), {
    message: /b\.key .* is not that of the certificate/,
  });
});

test('the expiry of the certificate is shown as a metric, and nothing instead of a stale one', async () => {
  await using mesh = await setUp();
  const files = await mesh.authority.issue('a', { validDays: 10 });
  const registry = createRegistry();
  observeExpiry(tlsOf(files), registry, createSilentLog());
  const shown = async () =>
    /^parley_tls_certificate_expiry_timestamp_seconds (\S+)$/m.exec(await registry.metrics())?.[1];
  assert.ok(Math.abs(Number(await shown()) - Date.now() / 1000 - 10 * 86_400) < 60);
  await rm(files.cert);
  assert.equal(await shown(), undefined);
});

test('an identity is one DNS name of its own form; two of them are refused', () => {
  const of = (subjectaltname: string) => identityOf({ subjectaltname });
  assert.deepEqual(of('DNS:a.b.svc, DNS:llama.peer.parley.internal, IP Address:10.0.0.1'), {
    role: 'peer',
    name: 'llama',
  });
  assert.deepEqual(of('DNS:pmi.parley.internal'), { role: 'pmi' });
  const none = [
    'DNS:parley.internal',
    'DNS:peer.parley.internal',
    'DNS:a.pmi.parley.internal',
    'DNS:pmi.parley.internal.example.com',
    'URI:pmi.parley.internal',
    '"DNS:pmi.parley.internal"',
    '',
  ];
  for (const names of none) assert.equal(of(names), undefined, names);
  assert.throws(() => of('DNS:pmi.parley.internal, DNS:coordinator.parley.internal'), {
    reason: 'PERMISSION_DENIED',
    message: /several identities/,
  });
});

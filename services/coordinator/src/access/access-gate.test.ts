import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { Metadata } from '@grpc/grpc-js';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import type { JWTPayload } from 'jose';
import { createSilentLog, readConfig } from '@parley/runtime';
import type { CallFacts, Env } from '@parley/runtime';
import { COORDINATOR_FIELDS } from '../config.js';
import { openGate } from './open-gate.js';

const VIEWER = 'viewer-token-0123456789';
const OPERATOR = 'operator-token-0123456789';

function gateOf(env: Env) {
  const denied: string[] = [];
  const config = readConfig({ PARLEY_LISTEN: '0.0.0.0:0', ...env }, COORDINATOR_FIELDS);
  const authorize = openGate(config, {
    tls: undefined,
    log: createSilentLog(),
    onDenied: (reason) => denied.push(reason),
  });
  const call = (method: string, token?: string, more: Partial<CallFacts> = {}) => {
    const metadata = new Metadata();
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    const facts = { metadata, certificate: undefined, caller: '10.0.0.1:5000', ...more };
    return authorize({ method: `parley.v1.CoordinatorService/${method}`, ...facts });
  };
  return { call, denied };
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-access-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function tokensFile(t: TestContext, text: string): Promise<string> {
  const path = join(await folderOf(t), 'tokens');
  await writeFile(path, text);
  return path;
}

test('viewers look, operators also change, and each is known by name', async (t) => {
  const path = await tokensFile(t, `# people\nann viewer ${VIEWER}\nbob operator ${OPERATOR} # on call\n\n`);
  const { call, denied } = gateOf({ PARLEY_TOKENS_FILE: path });
  for (const method of ['GetRun', 'ListRuns', 'WatchRun', 'ListPeers']) {
    assert.equal(await call(method, VIEWER), 'ann');
    assert.equal(await call(method, OPERATOR), 'bob');
  }
  for (const method of ['CreateRun', 'SubmitPrompts', 'PauseRun', 'ResumeRun', 'StopRun']) {
    assert.equal(await call(method, OPERATOR), 'bob');
    await assert.rejects(call(method, VIEWER), { reason: 'PERMISSION_DENIED', message: /ann is a viewer/ });
  }
  await assert.rejects(call('GetRun'), { reason: 'UNAUTHENTICATED', message: /needs a token/ });
  await assert.rejects(call('GetRun', 'somebody-elses-token-000'), { reason: 'UNAUTHENTICATED' });
  await assert.rejects(call('GetRun', `${VIEWER}x`), { reason: 'UNAUTHENTICATED' });
  assert.deepEqual(new Set(denied), new Set(['PERMISSION_DENIED', 'UNAUTHENTICATED']));
});

test('a method that this version does not know takes an operator', async (t) => {
  const path = await tokensFile(t, `ann viewer ${VIEWER}\nbob operator ${OPERATOR}`);
  const { call } = gateOf({ PARLEY_TOKENS_FILE: path });
  await assert.rejects(call('DeleteEverything', VIEWER), { reason: 'PERMISSION_DENIED' });
});

test('a certificate of the mesh makes an operator only if it says so', async (t) => {
  const path = await tokensFile(t, `ann viewer ${VIEWER}`);
  const { call } = gateOf({ PARLEY_TOKENS_FILE: path });
  const certificate = (subjectaltname: string) =>
    ({ certificate: { subjectaltname } }) as unknown as Partial<CallFacts>;
  assert.equal(
    await call('StopRun', undefined, certificate('DNS:operator.parley.internal')),
    'operator.parley.internal',
  );
  await assert.rejects(call('GetRun', undefined, certificate('DNS:llama.peer.parley.internal')), {
    reason: 'UNAUTHENTICATED',
  });
});

test('tokens come and go with their file; a broken one changes nothing', async (t) => {
  const path = await tokensFile(t, `ann viewer ${VIEWER}`);
  const { call } = gateOf({ PARLEY_TOKENS_FILE: path });
  const replace = async (text: string) => {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  };
  await replace('ann viewer');
  assert.equal(await call('GetRun', VIEWER), 'ann');
  await replace(`bob operator ${OPERATOR}`);
  await assert.rejects(call('GetRun', VIEWER), { reason: 'UNAUTHENTICATED' });
  assert.equal(await call('StopRun', OPERATOR), 'bob');
});

test('a tokens file that makes no sense is refused by line, and no token is ever told', async (t) => {
  const bad: [string, RegExp][] = [
    [`ann viewer ${VIEWER}\nbob root ${OPERATOR}`, /line 2 gives bob the role "root"/],
    ['ann viewer', /line 1 is not "NAME ROLE TOKEN"/],
    [`ann viewer ${VIEWER} extra`, /line 1 is not/],
    ['ann viewer short', /line 1 has a token of 5 characters; at least 16/],
    [`ann viewer ${VIEWER}\nbob operator ${VIEWER}`, /line 2 has the token of an earlier line/],
    ['# nobody\n', /holds no token/],
  ];
  for (const [text, message] of bad) {
    const path = await tokensFile(t, text);
    assert.throws(
      () => gateOf({ PARLEY_TOKENS_FILE: path }),
      (error: Error) => {
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /token-0123456789/);
        return true;
      },
    );
  }
  assert.throws(() => gateOf({ PARLEY_TOKENS_FILE: '/nowhere' }), { message: /\/nowhere cannot be read/ });
});

test('without a way to tell callers apart it listens on loopback alone, or where it is told that this is meant', async () => {
  assert.throws(() => gateOf({}), {
    reason: 'CONFIG_INVALID',
    message: /obey everybody who reaches 0\.0\.0\.0:0/,
  });
  for (const env of [{ PARLEY_LISTEN: '127.0.0.1:0' }, { PARLEY_AUTH: 'none' }]) {
    const { call } = gateOf(env);
    assert.equal(await call('StopRun'), '');
  }
  assert.throws(
    () => gateOf({ PARLEY_AUTH: 'none', PARLEY_OIDC_ISSUER: 'https://a', PARLEY_OIDC_AUDIENCE: 'b' }),
    {
      message: /contradicts/,
    },
  );
  assert.throws(() => gateOf({ PARLEY_OIDC_ISSUER: 'https://a' }), { message: /needs PARLEY_OIDC_AUDIENCE/ });
});

test('one caller is held back and another is not; guessing is cut off by address', async (t) => {
  const path = await tokensFile(t, `ann viewer ${VIEWER}\nbob operator ${OPERATOR}`);
  const { call } = gateOf({ PARLEY_TOKENS_FILE: path, PARLEY_RATE_LIMIT: '5' });
  for (let i = 0; i < 5; i++) await call('GetRun', VIEWER);
  await assert.rejects(call('GetRun', VIEWER), { reason: 'RATE_LIMITED', message: /try again in \d+ s/ });
  assert.equal(await call('GetRun', OPERATOR), 'bob');
  const guess = (port: number) => call('GetRun', 'guessed-token-000000', { caller: `10.9.9.9:${port}` });
  for (let i = 0; i < 30; i++) await assert.rejects(guess(i), { reason: 'UNAUTHENTICATED' });
  await assert.rejects(guess(99), { reason: 'RATE_LIMITED', message: /failed attempts/ });
  await assert.rejects(call('GetRun', OPERATOR, { caller: '10.9.9.9:1' }), { reason: 'RATE_LIMITED' });
  assert.equal(await call('GetRun', OPERATOR), 'bob');
});

/** An OpenID Connect issuer with one key. */
async function startIssuer(t: TestContext) {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  let asked = 0;
  let up = true;
  const server = createServer((request, response) => {
    asked++;
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const answer = async () => {
      if (!up) return response.writeHead(503).end();
      const body = request.url?.endsWith('openid-configuration')
        ? { issuer, jwks_uri: `${issuer}/keys` }
        : { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }] };
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    void answer();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    issuer,
    asked: () => asked,
    setUp: (value: boolean) => (up = value),
    sign: (claims: JWTPayload, expires = '5m', key = privateKey) =>
      new SignJWT({ sub: 'ann@example.com', aud: 'parley', iss: issuer, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setExpirationTime(expires)
        .sign(key),
  };
}

test('tokens of an OpenID Connect issuer count by signature, audience, expiry and groups', async (t) => {
  const issuer = await startIssuer(t);
  const { call } = gateOf({ PARLEY_OIDC_ISSUER: issuer.issuer, PARLEY_OIDC_AUDIENCE: 'parley' });
  const groups = (...names: string[]) => ({ groups: names });
  assert.equal(await call('StopRun', await issuer.sign(groups('x', 'parley-operator'))), 'ann@example.com');
  assert.equal(await call('GetRun', await issuer.sign({ groups: 'parley-viewer' })), 'ann@example.com');
  await assert.rejects(call('StopRun', await issuer.sign(groups('parley-viewer'))), {
    reason: 'PERMISSION_DENIED',
  });
  await assert.rejects(call('GetRun', await issuer.sign(groups('x'))), {
    reason: 'PERMISSION_DENIED',
    message: /claim "groups" holds none of parley-operator, parley-viewer/,
  });
  const { privateKey: other } = await generateKeyPair('ES256');
  const refused: [string, RegExp][] = [
    [await issuer.sign(groups('parley-operator'), '-5m'), /has expired/],
    [await issuer.sign({ ...groups('parley-operator'), aud: 'another' }), /"aud"/],
    [await issuer.sign({ ...groups('parley-operator'), iss: 'https://evil' }), /"iss"/],
    [await issuer.sign(groups('parley-operator'), '5m', other), /signature verification failed/],
    [
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{}').toString('base64url')}.`,
      /not valid/,
    ],
  ];
  for (const [token, message] of refused)
    await assert.rejects(call('GetRun', token), { reason: 'UNAUTHENTICATED', message });
  assert.equal(issuer.asked(), 2, 'discovery and keys are fetched once');
});

test('an issuer that is away makes calls unavailable, not the coordinator, and is found when it is back', async (t) => {
  const issuer = await startIssuer(t);
  issuer.setUp(false);
  const { call } = gateOf({ PARLEY_OIDC_ISSUER: issuer.issuer, PARLEY_OIDC_AUDIENCE: 'parley' });
  const token = await issuer.sign({ groups: ['parley-operator'] });
  await assert.rejects(call('GetRun', token), { reason: 'SERVICE_UNAVAILABLE', message: /status 503/ });
  issuer.setUp(true);
  assert.equal(await call('GetRun', token), 'ann@example.com');
});

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createSilentLog, openTls, startGrpcServer } from '@parley/runtime';
import { createTestAuthority } from '@parley/runtime/testing';
import { runCommandLine } from '../fixtures/test-cli.js';
import { checkCertificates } from './check-certificates.js';
import { clockFinding } from './check-clock.js';
import { checkMachine } from './check-machine.js';

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-doctor-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test('a clock is judged by what it said between question and answer', () => {
  assert.equal(clockFinding('x', 1000, 900, 1100).verdict, 'ok');
  assert.equal(clockFinding('x', 900 - 4000, 900, 1100).verdict, 'ok');
  const behind = clockFinding('x', 0, 60_000, 60_100);
  assert.deepEqual([behind.verdict, behind.detail], ['warning', "60.0 s behind this machine's"]);
  assert.match(clockFinding('x', 100_000, 60_000, 60_100).detail, /39\.9 s ahead of/);
});

test('certificates are judged by the days they have left, at both ends', async (t) => {
  const folder = await folderOf(t);
  const authority = await createTestAuthority(folder);
  const { ca, cert, key } = await authority.issue('server', { validDays: 5, identity: { role: 'pmi' } });
  const tls = openTls({ tlsCa: ca, tlsCert: cert, tlsKey: key }, { log: createSilentLog() });
  await using server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    services: [],
    log: createSilentLog(),
    credentials: tls!.server('required'),
  });
  const own = await authority.issue('own', { validDays: 90 });
  const env = { PARLEY_TLS_CA_FILE: ca, PARLEY_TLS_CERT_FILE: own.cert };
  const look = (nowMs: number) => checkCertificates(env, new Map([['pmi', server.address]]), () => nowMs);
  const [mine, theirs] = await look(Date.now());
  assert.deepEqual([mine?.verdict, theirs?.verdict], ['ok', 'warning']);
  assert.match(theirs?.detail ?? '', /localhost, pmi\.parley\.internal: 4 days left/);
  const [, expired] = await look(Date.now() + 30 * 86_400_000);
  assert.deepEqual([expired?.verdict, expired?.advice !== ''], ['problem', true]);
  const [, early] = await look(Date.now() - 30 * 86_400_000);
  assert.equal(early?.verdict, 'problem');
  const [plain] = await checkCertificates({}, new Map(), Date.now);
  assert.match(plain?.detail ?? '', /plain text/);
});

test('without a mesh it looks at this machine', async (t) => {
  const cwd = await folderOf(t);
  const findings = await checkMachine(
    { env: {}, signal: new AbortController().signal },
    join(cwd, 'not', 'there'),
  );
  assert.deepEqual(
    findings.map(({ subject }) => subject),
    ['node', 'memory', 'disk', 'nats-server'],
  );
  assert.match(findings[2]?.detail ?? '', new RegExp(`free in ${cwd}$`));
  const { code, stdout } = await runCommandLine(['doctor'], { cwd });
  assert.equal(code, 0);
  assert.match(stdout, /none is up here.*this machine is looked at/);
});

test('a coordinator that does not answer is a problem, with what to do, and the rest is looked at all the same', async (t) => {
  const { code, stdout, stderr } = await runCommandLine(
    ['doctor', '--json', '--coordinator', '127.0.0.1:1'],
    {
      cwd: await folderOf(t),
    },
  );
  assert.equal(code, 1);
  const [line = ''] = stdout.split('\n');
  const { findings } = JSON.parse(line) as {
    findings: { subject: string; verdict: string; advice: string }[];
  };
  assert.deepEqual(
    findings.map(({ subject, verdict }) => [subject, verdict]),
    [
      ['nats', 'unknown'],
      ['coordinator', 'problem'],
      ['certificates', 'ok'],
    ],
  );
  assert.match(findings[1]?.advice ?? '', /127\.0\.0\.1:1/);
  assert.match(stderr, /1 problem: see above/);
});

import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sha256 } from '@parley/runtime';
import { findNatsServer } from './find-nats-server.js';
import type { FindNatsServerOptions } from './find-nats-server.js';
import { NATS_RELEASE, fileFromTarGz, releasePlatform, releaseUrl } from './nats-release.js';

async function machine() {
  const root = await mkdtemp(join(tmpdir(), 'parley-find-'));
  const bin = join(root, 'bin');
  await mkdir(bin);
  const install = async (name: string, script: string) => {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  };
  const options: FindNatsServerOptions = {
    env: { PATH: bin, PARLEY_CACHE: join(root, 'cache') },
    folders: [],
    mayInstall: false,
    release: { version: '9.9.9', baseUrl: 'http://127.0.0.1:1', sha256: {} },
    platform: 'linux-amd64',
  };
  return { root, bin, install, options, [Symbol.asyncDispose]: () => rm(root, { recursive: true }) };
}

const prints = (version: string) => `echo "nats-server: v${version}"`;

/** A gzipped ustar archive of files. */
function tarGz(files: Record<string, string>): Buffer {
  const blocks = Object.entries(files).map(([name, content]) => {
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write(content.length.toString(8).padStart(11, '0'), 124);
    header.write('0', 156);
    return Buffer.concat([header, Buffer.from(content), Buffer.alloc((512 - (content.length % 512)) % 512)]);
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

test('a program on PATH is used, unless it is too old', async () => {
  await using m = await machine();
  await m.install('nats-server', prints('2.10.1'));
  assert.deepEqual(await findNatsServer(m.options), { path: join(m.bin, 'nats-server'), version: '2.10.1' });
  await m.install('nats-server', prints('2.8.0'));
  await assert.rejects(findNatsServer(m.options), {
    message: /bin\/nats-server: version 2\.8\.0 is older than 2\.9\.10/,
  });
});

test('the program named by PARLEY_NATS_SERVER is used and no other', async () => {
  await using m = await machine();
  await m.install('nats-server', prints('2.10.1'));
  await m.install('mine', prints('2.12.0'));
  const named = (path: string) =>
    findNatsServer({ ...m.options, env: { ...m.options.env, PARLEY_NATS_SERVER: path } });
  assert.equal((await named(join(m.bin, 'mine'))).version, '2.12.0');
  await m.install('old', prints('2.2.0'));
  await assert.rejects(named(join(m.bin, 'old')), {
    reason: 'NATS_TOO_OLD',
    message: /old, which is version 2\.2\.0; 2\.9\.10 or newer/,
  });
  await assert.rejects(named('/nowhere'), {
    reason: 'NATS_NOT_FOUND',
    message: /names \/nowhere, which does not run/,
  });
});

test("root gets Debian's package, after an update where the lists are empty; others are told why not", async () => {
  await using m = await machine();
  const log = join(m.root, 'apt.log');
  await m.install(
    'apt-get',
    `echo "$@" >> ${log}
if [ "$1" = update ]; then /usr/bin/touch ${m.root}/updated; exit 0; fi
[ -e ${m.root}/updated ] || { echo "E: Unable to locate package" >&2; exit 100; }
printf '#!/bin/sh\\n${prints('2.9.10').replaceAll('"', '')}\\n' > ${m.bin}/nats-server; /bin/chmod 755 ${m.bin}/nats-server`,
  );
  await assert.rejects(findNatsServer(m.options), {
    reason: 'NATS_NOT_FOUND',
    message: /only root may install packages/,
  });
  const said: string[] = [];
  const found = await findNatsServer({ ...m.options, mayInstall: true, say: (line) => said.push(line) });
  assert.equal(found.version, '2.9.10');
  assert.deepEqual(said, ['installing nats-server with apt-get']);
  const calls = (await readFile(log, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[0]);
  assert.deepEqual(calls, ['install', 'update', 'install']);
});

test('the pinned release is downloaded once, and only with the pinned digest', async () => {
  await using m = await machine();
  const archive = tarGz({
    'nats-server-v9.9.9-linux-amd64/README.md': 'x'.repeat(700),
    'nats-server-v9.9.9-linux-amd64/nats-server': `#!/bin/sh\n${prints('9.9.9')}\n`,
  });
  let requests = 0;
  const site = createServer((request, response) => {
    requests++;
    response.statusCode = request.url === '/nats-server-v9.9.9-linux-amd64.tar.gz' ? 200 : 404;
    response.end(archive);
  });
  await once(site.listen(0, '127.0.0.1'), 'listening');
  const baseUrl = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  const release = { version: '9.9.9', baseUrl, sha256: { 'linux-amd64': sha256(archive) } };
  try {
    const wrong = { ...release, sha256: { 'linux-amd64': sha256('other') } };
    await assert.rejects(findNatsServer({ ...m.options, release: wrong }), {
      reason: 'DIGEST_MISMATCH',
      message: /linux-amd64\.tar\.gz has SHA-256/,
    });
    const found = await findNatsServer({ ...m.options, release });
    assert.equal(found.path, join(m.root, 'cache', 'nats-server-v9.9.9-linux-amd64', 'nats-server'));
    assert.equal(requests, 2);
    assert.deepEqual(await findNatsServer({ ...m.options, release }), found);
    assert.equal(requests, 2);
    const gone = { ...release, version: '9.9.8' };
    await assert.rejects(findNatsServer({ ...m.options, release: gone }), {
      message: /v9\.9\.8-linux-amd64\.tar\.gz: HTTP status 404/,
    });
  } finally {
    site.close();
  }
});

test('where nothing can be done, the error says what was tried and how to get it', async () => {
  await using m = await machine();
  const release = { version: '9.9.9', baseUrl: 'http://127.0.0.1:1', sha256: { 'linux-amd64': sha256('x') } };
  await assert.rejects(findNatsServer({ ...m.options, release }), {
    reason: 'NATS_NOT_FOUND',
    message:
      /PATH: no nats-server.*\n.*127\.0\.0\.1:1\/nats-server-v9\.9\.9-linux-amd64\.tar\.gz: .*\nInstall one \(apt-get install nats-server/,
  });
  await assert.rejects(findNatsServer({ ...m.options, platform: 'plan9-mips' }), {
    message: /no pinned release for plan9-mips/,
  });
});

test('the pinned release covers Linux and macOS on both architectures', () => {
  assert.deepEqual(Object.keys(NATS_RELEASE.sha256).sort(), [
    'darwin-amd64',
    'darwin-arm64',
    'linux-amd64',
    'linux-arm64',
  ]);
  assert.ok(Object.values(NATS_RELEASE.sha256).every((digest) => /^[0-9a-f]{64}$/.test(digest)));
  const url = releaseUrl(NATS_RELEASE, releasePlatform('linux', 'x64'));
  assert.equal(
    url,
    'https://github.com/nats-io/nats-server/releases/download/v2.11.8/nats-server-v2.11.8-linux-amd64.tar.gz',
  );
});

test('an archive without the program is refused', () => {
  assert.throws(() => fileFromTarGz(tarGz({ 'a/other': 'x' }), 'nats-server'), /holds no file nats-server/);
});

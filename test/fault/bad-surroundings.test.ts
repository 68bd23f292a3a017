import { equal, match, ok } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startNatsServer } from '@parley/bus/testing';
import type { TestNatsServer } from '@parley/bus/testing';
import { run } from '../support/launch.js';
import { fixtureFolder } from '../support/small-models.js';

const SERVICES = ['peer', 'coordinator', 'pmi'] as const;
/** Nothing listens on the port that is reserved for discovering multiplexed services. */
const NOBODY = 'nats://127.0.0.1:1';

describe(
  'a service whose surroundings will not do exits with a code for scripts and one line',
  { concurrency: 3 },
  () => {
    let folder = '';
    let nats: TestNatsServer;
    let bare: TestNatsServer;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'parley-surroundings-'));
      nats = await startNatsServer();
      bare = await startNatsServer({ jetstream: false });
    });
    after(async () => {
      await nats[Symbol.asyncDispose]();
      await bare[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    });

    const start = async (service: (typeof SERVICES)[number], natsUrl: string, listen = '127.0.0.1:0') => {
      const exit = await run(service, {
        PARLEY_PEER_NAME: 'ant',
        PARLEY_MODEL: fixtureFolder('llama'),
        PARLEY_STATE_DIR: await mkdtemp(join(folder, 'state-')),
        PARLEY_NATS_URL: natsUrl,
        PARLEY_LISTEN: listen,
      });
      equal(exit.stderr.trimEnd().split('\n').length, 1, exit.stderr);
      ok(exit.stderr.startsWith(`${service}: `), exit.stderr);
      return exit;
    };

    for (const service of SERVICES) {
      test(`${service}: no nats-server answers`, async () => {
        const { code, stderr } = await start(service, NOBODY);
        equal(code, 3);
        match(stderr, /No nats-server answers at nats:\/\/127\.0\.0\.1:1 within \d+ ms.*start one there/);
      });

      test(`${service}: nats-server without JetStream`, async () => {
        const { code, stderr } = await start(service, bare.url);
        equal(code, 3);
        ok(stderr.includes(`nats-server at ${bare.url} runs without JetStream; start it with -js`), stderr);
      });

      test(`${service}: nats-server too old`, async () => {
        await using old = await startOldNatsServer();
        const { code, stderr } = await start(service, old.url);
        equal(code, 3);
        match(stderr, new RegExp(`${old.url} is version 2\\.1\\.0; [\\d.]+ or newer is needed, upgrade it`));
      });

      test(`${service}: its port is in use`, async () => {
        const { code, stderr } = await start(service, nats.url, `127.0.0.1:${nats.port}`);
        equal(code, 1);
        match(
          stderr,
          new RegExp(`Port ${nats.port} on 127\\.0\\.0\\.1 is in use; stop the process .* or choose another`),
        );
      });
    }

    test('a prompt file at fault is named with its line, before anything is started', async () => {
      const cases = [
        { content: '', says: /: .*empty|holds no/ },
        { content: '\n\n', says: /empty|holds no/ },
        {
          content: '{"question":"a"}\n{"question":',
          says: /prompts\.jsonl:2: not valid JSON .*write one object a line/,
        },
        { content: '{"question":"a"}\n\n{"answer":"b"}', says: /prompts\.jsonl:3: "question" is missing/ },
        {
          content: '{"question":"a"}\n{"question":7,"id":"x y"}',
          says: /prompts\.jsonl:2: "id" has white space/,
        },
        { content: '{"question":"a"}\n["b"]', says: /prompts\.jsonl:2: not a JSON object/ },
      ];
      const path = join(folder, 'prompts.jsonl');
      for (const { content, says } of cases) {
        await writeFile(path, content);
        const args = ['run', '--json', '--questions', path, '--state', join(folder, 'unused')];
        const { code, stderr, stdout } = await run('cli', {}, args);
        equal(code, 2, stderr);
        match(stderr, says);
        ok(stderr.startsWith(`parley: ${path}`), stderr);
        const { error } = JSON.parse(stdout) as { error: { code: string; reason: string } };
        equal(error.reason, 'PROMPT_FILE_INVALID');
        equal(error.code, 'INVALID_ARGUMENT');
      }
    });
  },
);

/** Says hello as nats-server 2.1 does, before JetStream. */
async function startOldNatsServer(): Promise<{ url: string } & AsyncDisposable> {
  const hello = { server_id: 'old', version: '2.1.0', proto: 1, max_payload: 1_048_576 };
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => data.includes('PING') && socket.write('PONG\r\n'));
    socket.write(`INFO ${JSON.stringify(hello)}\r\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

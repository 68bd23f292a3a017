import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { EchoService } from './fixtures/echo_pb.js';
import {
  ParleyError,
  createClient,
  createRegistry,
  createRpcMetrics,
  createSilentLog,
  implement,
  startGrpcServer,
} from './index.js';
import type { CallContext, ClientOptions, GrpcServer, GrpcServerOptions } from './index.js';

interface Seen {
  produced: number;
  contexts: CallContext[];
}

function echo(seen: Seen) {
  return implement(EchoService, {
    async echo(request, context) {
      seen.contexts.push(context);
      if (request.fail === 'not-found') {
        throw new ParleyError('PEER_UNKNOWN', 'no peer "bee"; known: ant', { details: { peer: 'bee' } });
      }
      if (request.fail === 'plain') throw new TypeError('a defect');
      await wait(request.delayMs);
      return { text: request.text, receivedTime: timestampFromMs(0) };
    },
    async *count(request, context) {
      seen.contexts.push(context);
      const payload = new Uint8Array(request.payloadBytes);
      for (let index = 0; index < request.to; index++) {
        if (request.failAfter > 0 && index === request.failAfter) {
          throw new ParleyError('DISK_FULL', 'no room; make some');
        }
        seen.produced++;
        yield { index, payload };
      }
    },
  });
}

async function serve(options: Partial<GrpcServerOptions> = {}, client: Partial<ClientOptions> = {}) {
  const seen: Seen = { produced: 0, contexts: [] };
  const log = createSilentLog();
  const server = await startGrpcServer({
    host: '127.0.0.1',
    port: 0,
    services: [echo(seen)],
    log,
    ...options,
  });
  server.setServing(true);
  const rpc = createClient(EchoService, server.address, { deadlineMs: 5000, label: 'peer ant', ...client });
  const dispose = async () => {
    rpc.close();
    await server.close();
  };
  return { server, rpc, seen, [Symbol.asyncDispose]: dispose };
}

test('a unary call carries messages, headers and a deadline', async () => {
  await using setup = await serve();
  const started = Date.now();
  const response = await setup.rpc.echo({ text: 'hello' }, { headers: { traceparent: '00-1-2-01' } });
  assert.equal(response.text, 'hello');
  assert.equal(response.receivedTime?.$typeName, 'google.protobuf.Timestamp');
  const [context] = setup.seen.contexts;
  assert.deepEqual(context?.metadata.get('traceparent'), ['00-1-2-01']);
  assert.ok(context !== undefined && Math.abs(context.deadlineEpochMs - (started + 5000)) < 200);
});

test('an error of a handler arrives with reason, code, details and the address', async () => {
  await using setup = await serve();
  await assert.rejects(setup.rpc.echo({ fail: 'not-found' }), (error: ParleyError) => {
    assert.equal(error.reason, 'PEER_UNKNOWN');
    assert.equal(error.code, 'NOT_FOUND');
    assert.equal(error.details['peer'], 'bee');
    assert.match(
      error.message,
      /no peer "bee"; known: ant \(from peer ant at 127\.0\.0\.1:\d+, method Echo\)/,
    );
    return true;
  });
  await assert.rejects(setup.rpc.echo({ fail: 'plain' }), { reason: 'INTERNAL', code: 'INTERNAL' });
});

test('a deadline ends the call at both ends and names the address', async () => {
  await using setup = await serve();
  await assert.rejects(setup.rpc.echo({ delayMs: 3000 }, { deadlineMs: 100 }), {
    reason: 'DEADLINE_EXCEEDED',
    message: /No answer before the deadline: peer ant at 127\.0\.0\.1:\d+, method Echo/,
  });
  const [context] = setup.seen.contexts;
  if (!context?.signal.aborted) await once(context.signal, 'abort', { signal: AbortSignal.timeout(2000) });
});

test('a signal cancels the call at both ends', async () => {
  await using setup = await serve();
  const controller = new AbortController();
  const call = setup.rpc.echo({ delayMs: 3000 }, { signal: controller.signal });
  while (setup.seen.contexts.length === 0) await wait(5);
  controller.abort();
  await assert.rejects(call, { reason: 'CANCELLED' });
  const { signal } = setup.seen.contexts[0];
  if (!signal.aborted) await once(signal, 'abort', { signal: AbortSignal.timeout(2000) });
  await assert.rejects(setup.rpc.echo({}, { signal: AbortSignal.abort() }), { reason: 'CANCELLED' });
});

test('a stream is pulled as fast as the caller reads, and no faster', async () => {
  await using setup = await serve();
  let read = 0;
  for await (const { index, payload } of setup.rpc.count({ to: 400, payloadBytes: 100_000 })) {
    assert.equal(index, read++);
    assert.equal(payload.length, 100_000);
    if (read === 3) {
      await wait(300);
      assert.ok(setup.seen.produced < 100, `produced ${setup.seen.produced} while 3 were read`);
    }
  }
  assert.equal(read, 400);
});

test('leaving a stream early cancels it at the server', async () => {
  await using setup = await serve();
  for await (const { index } of setup.rpc.count({ to: 100_000, payloadBytes: 50_000 }))
    if (index === 2) break;
  const { signal } = setup.seen.contexts[0];
  if (!signal.aborted) await once(signal, 'abort', { signal: AbortSignal.timeout(2000) });
  await wait(50);
  const { produced } = setup.seen;
  await wait(50);
  assert.equal(setup.seen.produced, produced);
});

test('an error in the middle of a stream arrives after what came before it', async () => {
  await using setup = await serve();
  const read: number[] = [];
  const drain = async () => {
    for await (const { index } of setup.rpc.count({ to: 10, failAfter: 3 })) read.push(index);
  };
  await assert.rejects(drain, { reason: 'DISK_FULL', code: 'RESOURCE_EXHAUSTED' });
  assert.deepEqual(read, [0, 1, 2]);
});

test('a request over the limit is refused by size, with the remedy', async () => {
  await using setup = await serve({ maxRequestBytes: 1000 });
  await assert.rejects(setup.rpc.echo({ payload: new Uint8Array(2000) }), {
    reason: 'MESSAGE_TOO_LARGE',
    message: /send smaller batches/,
  });
  assert.equal((await setup.rpc.echo({ text: 'small' })).text, 'small');
});

test('nothing listening is SERVICE_UNAVAILABLE and names the address; a later start is found', async () => {
  const { server, ...rest } = await serve();
  await rest[Symbol.asyncDispose]();
  using rpc = createClient(EchoService, server.address, { deadlineMs: 2000 });
  await assert.rejects(rpc.echo({}), {
    reason: 'SERVICE_UNAVAILABLE',
    message: new RegExp(`No answer; check that the service is running.*${server.address}`),
  });
  await using again = await serve({ port: server.port });
  const deadline = Date.now() + 4000;
  let answered = false;
  while (!answered && Date.now() < deadline) {
    answered = await rpc.echo({ text: 'x' }).then(
      () => true,
      () => wait(50).then(() => false),
    );
  }
  assert.ok(answered && again.seen.contexts.length === 1);
});

test('an idempotent client waits for a service that is away, within the deadline of the call', async () => {
  const first = await serve();
  const { address, port } = first.server;
  const options = { deadlineMs: 20_000, retryWhileAway: { firstMs: 0 } };
  using rpc = createClient(EchoService, address, options);
  await rpc.echo({});
  await first[Symbol.asyncDispose]();
  const call = rpc.echo({ text: 'patience' });
  await wait(700);
  await using again = await serve({ port });
  assert.equal((await call).text, 'patience');
  await assert.rejects(rpc.echo({ fail: 'not-found' }), { reason: 'PEER_UNKNOWN' });
  await again.server.close();
  const started = performance.now();
  await assert.rejects(rpc.echo({}, { deadlineMs: 3000 }), { reason: 'SERVICE_UNAVAILABLE' });
  assert.ok(performance.now() - started < 3500);
  using wrong = createClient(EchoService, address, options);
  await assert.rejects(wrong.echo({}), { reason: 'SERVICE_UNAVAILABLE' });
  assert.ok(performance.now() - started < 5000, 'an address that never answered is given up soon');
});

test('a server that freezes without closing its connections is noticed by keepalive', async () => {
  const script = `
    import { createSilentLog, implement, startGrpcServer } from ${JSON.stringify(new URL('./index.js', import.meta.url).href)};
    import { EchoService } from ${JSON.stringify(new URL('./fixtures/echo_pb.js', import.meta.url).href)};
    const impl = { echo: () => new Promise(() => {}), count: async function* () {} };
    const server = await startGrpcServer({ host: '127.0.0.1', port: 0, services: [implement(EchoService, impl)], log: createSilentLog() });
    console.log(server.address);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [address] = (await once(child.stdout, 'data')) as [Buffer];
    const keepalive = { timeMs: 300, timeoutMs: 300 };
    using rpc = createClient(EchoService, address.toString().trim(), { deadlineMs: 20_000, keepalive });
    const call = rpc.echo({});
    const started = Date.now();
    setTimeout(() => child.kill('SIGSTOP'), 150);
    await assert.rejects(call, { reason: 'SERVICE_UNAVAILABLE' });
    assert.ok(Date.now() - started < 3000);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a port in use is named, with the remedy', async () => {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address() as { port: number };
  try {
    await assert.rejects(serve({ port }), {
      reason: 'PORT_IN_USE',
      message: new RegExp(
        `Port ${port} on 127\\.0\\.0\\.1 is in use; stop the process .* choose another port`,
      ),
    });
  } finally {
    holder.close();
  }
  await assert.rejects(serve({ host: '203.0.113.7' }), { reason: 'ADDRESS_UNUSABLE' });
});

test('draining finishes calls in flight and refuses new ones; past the deadline it cuts them off', async () => {
  await using setup = await serve();
  const inFlight = setup.rpc.echo({ text: 'last', delayMs: 200 });
  while (setup.seen.contexts.length === 0) await wait(5);
  const drained = setup.server.drain(3000);
  assert.equal((await inFlight).text, 'last');
  await drained;
  await assert.rejects(setup.rpc.echo({}, { deadlineMs: 1000 }), { reason: 'SERVICE_UNAVAILABLE' });

  await using stuck = await serve();
  const lost = assert.rejects(stuck.rpc.echo({ delayMs: 4000 }), { code: 'UNAVAILABLE' });
  while (stuck.seen.contexts.length === 0) await wait(5);
  const started = Date.now();
  await stuck.server.drain(100);
  assert.ok(Date.now() - started < 1500);
  await lost;
});

test('calls are measured at both ends by method and code', async () => {
  const registry = createRegistry();
  await using setup = await serve({ registry }, { metrics: createRpcMetrics(registry) });
  await setup.rpc.echo({});
  await assert.rejects(setup.rpc.echo({ fail: 'not-found' }));
  const text = await registry.metrics();
  for (const side of ['server', 'client'])
    for (const code of ['OK', 'NOT_FOUND']) {
      const series = `parley_rpc_${side}_seconds_count{method="${EchoService.typeName}/Echo",code="${code}"} 1`;
      assert.ok(text.includes(series), series);
    }
});

test('health answers while handlers work, by service and as a whole, and follows setServing', async () => {
  await using setup = await serve();
  const check = healthChecker(setup.server);
  assert.equal(await check(''), 'SERVING');
  assert.equal(await check(EchoService.typeName), 'SERVING');
  setup.server.setServing(false);
  assert.equal(await check(EchoService.typeName), 'NOT_SERVING');
  await assert.rejects(check('no.such.Service'), { code: 5 });
});

function healthChecker(server: GrpcServer): (service: string) => Promise<string> {
  return async (service) => {
    const { Client, credentials } = await import('@grpc/grpc-js');
    const { service: health } = await import('grpc-health-check');
    const client = new Client(server.address, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = health['Check'];
    try {
      return await new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          { service },
          (error, response) => {
            if (error) reject(error);
            else resolve((response as { status: string }).status);
          },
        );
      });
    } finally {
      client.close();
    }
  };
}

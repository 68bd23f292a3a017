import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { EchoService } from './fixtures/echo_pb.js';
import {
  ParleyError,
  createClient,
  createLog,
  createSilentLog,
  implement,
  inSpan,
  startGrpcServer,
  startTracing,
  traceHeaders,
} from './index.js';
import { startOtlpReceiver } from './testing.js';

/** One process has one place where its spans go, so that all is seen in one test. */
test('spans of one trace reach the collector from both ends of a call, and from what a message carries on', async () => {
  await using receiver = await startOtlpReceiver();
  const lines = new PassThrough();
  const log = createLog({ service: 'test', destination: lines });
  {
    await using tracing = startTracing({
      service: 'test',
      endpoint: `${receiver.endpoint}/`,
      log: createSilentLog(),
    });
    const service = implement(EchoService, {
      echo: async ({ text }) => {
        if (text === 'fail') throw new ParleyError('PEER_UNKNOWN', 'no such peer');
        return { text: traceHeaders()['traceparent'] ?? '' };
      },
      async *count({ to }) {
        for (let index = 0; index < to; index++) yield { index };
      },
    });
    await using server = await startGrpcServer({
      host: '127.0.0.1',
      port: 0,
      services: [service],
      log: createSilentLog(),
    });
    using rpc = createClient(EchoService, server.address, { deadlineMs: 3000 });

    await rpc.echo({ text: 'a probe that belongs to no trace' });
    const carried = await inSpan('work', { attributes: { 'parley.run': 'r1' } }, async () => {
      log.info('within');
      await rpc.echo({});
      await assert.rejects(rpc.echo({ text: 'fail' }));
      for await (const _ of rpc.count({ to: 3 }));
      return traceHeaders();
    });
    await inSpan('later', { parent: carried }, async () => undefined);
    await inSpan('other', { links: [carried] }, async () => undefined);
    await assert.rejects(
      inSpan('broken', {}, async () => {
        throw new ParleyError('DISK_FULL', 'no room');
      }),
    );
    await tracing.flush();
  }
  const { spans } = receiver;
  const named = (name: string) => spans.filter((span) => span.name === name);
  const [work] = named('work');
  assert.ok(work);
  assert.equal(work.service, 'parley-test');
  assert.equal(work.attributes['parley.run'], 'r1');
  const ofTrace = spans.filter(({ traceId }) => traceId === work.traceId).map(({ name }) => name);
  const [echo, count] = ['parley.test.v1.EchoService/Echo', 'parley.test.v1.EchoService/Count'].map(
    (name) => ofTrace.filter((found) => found.endsWith(name.split('/')[1])).length,
  );
  assert.deepEqual([echo, count], [4, 2], 'client and server of two calls and of a stream');
  assert.deepEqual(ofTrace.filter((name) => name === 'later').length, 1);
  const server = spans.filter(
    ({ name, parentSpanId }) => name.endsWith('/Echo') && parentSpanId !== work.spanId,
  );
  assert.deepEqual(
    server.map(({ failed, attributes }) => [failed, attributes['rpc.grpc.status_code']]),
    [
      [false, 'OK'],
      [true, 'NOT_FOUND'],
    ],
  );
  assert.equal(spans.length, ofTrace.length + 2, 'the probe made no trace');
  assert.deepEqual(named('other')[0]?.links, [work.traceId]);
  assert.deepEqual(
    [named('broken')[0]?.failed, named('broken')[0]?.attributes['error.type']],
    [true, 'DISK_FULL'],
  );
  const line = JSON.parse(String(lines.read())) as Record<string, string>;
  assert.deepEqual([line['trace_id'], line['span_id']], [work.traceId, work.spanId]);
});

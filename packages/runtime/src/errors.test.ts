import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import type { ServiceError } from '@grpc/grpc-js';
import fc from 'fast-check';
import { decodeErrorInfo, encodeStatus } from './error-details.js';
import {
  CODES,
  EXIT,
  ParleyError,
  REASONS,
  exitCodeOf,
  fromServiceError,
  isParleyError,
  isRetryable,
  toServiceError,
} from './index.js';
import type { Code, Reason } from './index.js';

const reasons = Object.keys(REASONS) as Reason[];

/** What grpc-js hands a client for a status a server sent. */
function received(error: ParleyError): ServiceError {
  return Object.assign(new Error('wire'), toServiceError(error));
}

test('an error survives the wire, whatever its texts', () => {
  const texts = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ maxLength: 50 }), { maxKeys: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...reasons), fc.string(), texts, (reason, message, details) => {
      const sent = new ParleyError(reason, message, { details });
      const back = fromServiceError(received(sent), 'peer ant at a:1');
      assert.equal(back.reason, reason);
      assert.equal(back.code, sent.code);
      assert.ok(back.message.startsWith(message));
      assert.deepEqual(back.details, { ...details, where: 'peer ant at a:1' });
    }),
  );
});

test('a reason of a newer version is kept, with the code it was sent under', () => {
  const newer = ParleyError.remote('OUT_OF_RANGE', 'FROM_THE_FUTURE', 'm');
  const back = fromServiceError(received(newer), 'x');
  assert.equal(back.reason, 'FROM_THE_FUTURE');
  assert.equal(back.code, 'OUT_OF_RANGE');
});

test('long texts are cut so that the trailers stay under 8 KiB', () => {
  const details = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key${i}`, 'v'.repeat(5000)]));
  const wire = toServiceError(new ParleyError('INTERNAL', 'm'.repeat(100_000), { details }));
  const trailer = wire.metadata.get('grpc-status-details-bin')[0] as Buffer;
  assert.ok(trailer.length * 1.34 + wire.details.length < 8192);
});

test('bytes that are not a Status give no ErrorInfo and no exception', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void decodeErrorInfo(bytes)));
  const info = { reason: 'R', domain: 'd', metadata: { a: 'b' } };
  assert.deepEqual(decodeErrorInfo(encodeStatus(3, 'm', info)), info);
});

test('the bytes are those of google.rpc.Status', () => {
  const bytes = encodeStatus(5, 'no', { reason: 'R', domain: 'd', metadata: { k: 'v' } });
  const type = Buffer.from('type.googleapis.com/google.rpc.ErrorInfo').toString('hex');
  assert.equal(
    Buffer.from(bytes).toString('hex'),
    `080512026e6f1a3a0a28${type}120e0a0152120164${'1a060a016b120176'}`,
  );
});

test('a foreign error is turned into ours by kind', () => {
  const kinds: [unknown, Reason][] = [
    [new DOMException('stop', 'AbortError'), 'CANCELLED'],
    [Object.assign(new Error('full'), { code: 'ENOSPC' }), 'DISK_FULL'],
    [new TypeError('bug'), 'INTERNAL'],
    ['text', 'INTERNAL'],
  ];
  for (const [thrown, reason] of kinds) assert.equal(ParleyError.from(thrown).reason, reason);
  const own = new ParleyError('PEER_LOST', 'gone');
  assert.equal(ParleyError.from(own), own);
  assert.ok(isParleyError(own, 'PEER_LOST') && !isParleyError(own, 'INTERNAL'));
});

test('only errors that time can mend are retried', () => {
  assert.ok(isRetryable(new ParleyError('DISK_FULL', '')));
  assert.ok(isRetryable(new Error('bug')));
  assert.ok(!isRetryable(new ParleyError('WEIGHT_NOT_FINITE', '')));
  assert.ok(!isRetryable(new ParleyError('PEER_BUSY', '')), 'a run has to end first');
  assert.ok(!isRetryable(new ParleyError('MESSAGE_TOO_LARGE', '')));
});

test('exit codes tell bad input from a missing dependency', () => {
  assert.equal(exitCodeOf(new ParleyError('RECIPE_INVALID', '')), EXIT.usage);
  assert.equal(exitCodeOf(new ParleyError('NATS_TOO_OLD', '')), EXIT.unavailable);
  assert.equal(exitCodeOf(new ParleyError('DEADLINE_EXCEEDED', '')), EXIT.deadline);
  assert.equal(exitCodeOf(new Error('bug')), EXIT.failure);
});

test('docs/errors.md and the registry list the same reasons, codes and descriptions', async () => {
  const page = await readFile(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` +\| ([A-Z_]+) +\| (.*?) +\|$/gm)];
  const listed = rows.map(([, reason, code, description]) => ({ reason, code, description }));
  const registered = Object.entries(REASONS).map(([reason, entry]) => ({ reason, ...entry }));
  assert.deepEqual(listed, registered);
  assert.ok(registered.every(({ code }) => code in CODES));
  const [, sentence = ''] = /says whether to repeat: (.*?) may pass/s.exec(page) ?? [];
  const passing = Object.keys(CODES).filter((code) =>
    isRetryable(ParleyError.remote(code as Code, 'FROM_THE_FUTURE', '')),
  );
  assert.deepEqual(sentence.match(/[A-Z_]{5,}/g)?.sort(), passing.sort());
});

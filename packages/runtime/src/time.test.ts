import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ParleyError, backoffMs, pause, retry, sleep, withDeadline } from './index.js';

test('work that ignores its signal still ends at the deadline, by name', async () => {
  const never = withDeadline({ deadlineMs: 30, what: 'waiting for ant' }, () => new Promise(() => undefined));
  await assert.rejects(never, {
    reason: 'DEADLINE_EXCEEDED',
    message: 'Not done within 30 ms: waiting for ant',
  });
});

test('a deadline hands its signal to the work, passes results and errors, and can be cancelled', async () => {
  const options = { deadlineMs: 1000, what: 'work' };
  assert.equal(await withDeadline(options, async (signal) => signal.aborted), false);
  await assert.rejects(
    withDeadline(options, () => Promise.reject(new Error('own'))),
    { message: 'own' },
  );
  const signal = AbortSignal.abort();
  await assert.rejects(
    withDeadline({ ...options, signal }, (inner) => sleep(1000, inner)),
    { reason: 'CANCELLED' },
  );
});

test('a pause ends at once when aborted, without an error', async () => {
  const controller = new AbortController();
  const startMs = performance.now();
  const pausing = pause(10_000, controller.signal);
  controller.abort();
  await pausing;
  await pause(10_000, controller.signal);
  assert.ok(performance.now() - startMs < 5000);
});

test('a sleep ends at once when aborted, with the reason of the signal', async () => {
  const controller = new AbortController();
  const sleeping = sleep(10_000, controller.signal);
  controller.abort(new Error('enough'));
  await assert.rejects(sleeping, { message: 'enough' });
});

test('pauses lie between half and all of a ceiling that doubles up to the maximum', () => {
  const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2000 }), unit, (attempt, random) => {
      const delay = backoffMs(attempt, { baseMs: 10, maxMs: 1000, random: () => random });
      const ceiling = Math.min(1000, 10 * 2 ** (attempt - 1));
      assert.ok(delay >= ceiling / 2 && delay <= ceiling);
    }),
  );
});

test('work is repeated until it succeeds, and not when time cannot mend it', async () => {
  const delays: number[] = [];
  const options = {
    attempts: 5,
    baseMs: 10,
    maxMs: 25,
    random: () => 0,
    sleep: async (ms: number) => void delays.push(ms),
  };
  const result = await retry(options, async (attempt) => {
    if (attempt < 4) throw new ParleyError('PEER_LOST', 'later');
    return attempt;
  });
  assert.equal(result, 4);
  assert.deepEqual(delays, [5, 10, 12.5]);
  let calls = 0;
  const final = retry(options, async () => {
    calls++;
    throw new ParleyError('RUN_UNKNOWN', 'no run "x"');
  });
  await assert.rejects(final, { reason: 'RUN_UNKNOWN' });
  assert.equal(calls, 1);
});

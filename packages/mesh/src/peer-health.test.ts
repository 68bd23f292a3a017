import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ParleyError } from '@parley/runtime';
import { createHealthTracker } from './peer-health.js';
import type { PeerHealth } from './peer-health.js';

const down = new ParleyError('SERVICE_UNAVAILABLE', 'nothing listens at 127.0.0.1:7');

function setUp() {
  const clock = { nowMs: 0 };
  const tracker = createHealthTracker(1000, () => clock.nowMs);
  const changes: PeerHealth[] = [];
  tracker.listen((health) => changes.push(health));
  return { clock, tracker, changes };
}

describe('createHealthTracker', () => {
  it('calls a peer lost after the limit of silence, once, with the cause, and available at its next word', () => {
    const { clock, tracker, changes } = setUp();
    tracker.probed();
    clock.nowMs = 999;
    tracker.probed(down);
    assert.equal(tracker.health.available, true);
    assert.equal(tracker.unreachable.aborted, false);
    clock.nowMs = 1000;
    tracker.probed(down);
    tracker.probed(down);
    assert.equal(changes.length, 1);
    assert.ok(!changes[0].available && changes[0].cause.reason === 'SERVICE_UNAVAILABLE');
    assert.ok(tracker.unreachable.aborted);
    tracker.probed();
    assert.deepEqual(changes[1], { available: true });
    assert.equal(tracker.unreachable.aborted, false, 'calls may be made again');
  });

  it('names a peer whose call keeps failing although it can be reached', () => {
    const { clock, tracker, changes } = setUp();
    const call = tracker.beginCall();
    call.failed(down);
    clock.nowMs = 1000;
    tracker.probed();
    call.failed(down);
    tracker.probed();
    assert.deepEqual(
      changes.map((health) => health.available),
      [false],
    );
    assert.equal(tracker.unreachable.aborted, false, 'the call goes on being repeated');
    call.over();
    assert.equal(tracker.health.available, true);
  });

  it('counts silence from when somebody began to look', () => {
    const { clock, tracker } = setUp();
    clock.nowMs = 50_000;
    tracker.reset();
    tracker.probed(down);
    assert.equal(tracker.health.available, true);
  });

  it('lets calls wait until the peer can be reached, or their caller gives up', async () => {
    const { clock, tracker } = setUp();
    clock.nowMs = 1000;
    tracker.probed(down);
    const giveUp = new AbortController();
    const first = tracker.reachable(new AbortController().signal);
    const second = tracker.reachable(giveUp.signal);
    giveUp.abort(new Error('enough'));
    await assert.rejects(second, /enough/);
    tracker.probed();
    await first;
  });
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { planRound } from './plan-round.js';
import type { RoundShape, Step } from './plan-round.js';
import { runSteps } from './run-steps.js';

const shapes = fc
  .record({
    peers: fc.integer({ min: 2, max: 4 }),
    items: fc.integer({ min: 1, max: 40 }),
    microBatch: fc.integer({ min: 1, max: 12 }),
    kind: fc.constantFrom('fixed', 'rotated', 'random'),
    sequential: fc.boolean(),
    independent: fc.boolean(),
    judged: fc.boolean(),
    salt: fc.integer({ min: 0, max: 1000 }),
  })
  .map(({ items, kind, salt, ...shape }): RoundShape => {
    const base = Array.from({ length: shape.peers }, (_, peer) => peer);
    const turn = (by: number) => [...base.slice(by), ...base.slice(0, by)];
    const by = (item: number) => (kind === 'rotated' ? item : kind === 'random' ? item * (salt + 7) : 0);
    return { ...shape, orders: Array.from({ length: items }, (_, item) => turn(by(item) % shape.peers)) };
  });

describe('planRound', () => {
  it('lets every peer answer every question once, after those before it', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const steps = planRound(shape);
        shape.orders.forEach((order, item) => {
          const answers = order.map((peer) => stepsOf(steps, 'answer', peer, item));
          assert.deepEqual(
            answers.map((found) => found.length),
            order.map(() => 1),
          );
          if (!shape.sequential) return;
          answers.slice(1).forEach(([step], k) => assert.ok(step.after.includes(answers[k][0].id)));
        });
        assert.ok(steps.every((step) => step.items.length <= shape.microBatch));
      }),
    );
  });

  it('asks for independent answers only from peers that saw others, and judges after all answers', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const steps = planRound(shape);
        shape.orders.forEach((order, item) => {
          order.forEach((peer, stage) => {
            const wanted = shape.independent && shape.sequential && stage > 0 ? 1 : 0;
            assert.equal(stepsOf(steps, 'independent', peer, item).length, wanted);
            const judges = stepsOf(steps, 'judge', peer, item);
            assert.equal(judges.length, shape.judged ? 1 : 0);
            for (const judge of judges) {
              const needed = order.flatMap((other) => stepsOf(steps, 'answer', other, item));
              assert.ok(needed.every((step) => judge.after.includes(step.id)));
            }
          });
        });
      }),
    );
  });
});

describe('runSteps', () => {
  it('runs every step once, never before what it needs, one at a time for each peer', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const steps = planRound(shape);
        const over = new Set<number>();
        const busy = new Set<number>();
        const loads = await runSteps(steps, shape.peers, step, () => 0);
        assert.equal(over.size, steps.length);
        assert.equal(
          loads.reduce((sum, load) => sum + load.calls, 0),
          steps.length,
        );
        async function step({ id, peer, after }: Step): Promise<void> {
          assert.ok(!busy.has(peer));
          busy.add(peer);
          await Promise.resolve();
          assert.ok(after.every((needed) => over.has(needed)));
          over.add(id);
          busy.delete(peer);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('stops at the first failure after the calls under way are over', async () => {
    const orders = Array.from({ length: 8 }, () => [0, 1]);
    const shape = { peers: 2, microBatch: 2, sequential: true, independent: false, judged: false, orders };
    let under = 0;
    const run = runSteps(
      planRound(shape),
      2,
      async (step) => {
        under++;
        await new Promise((resolve) => setImmediate(resolve));
        under--;
        if (step.peer === 1) throw new Error('peer 1 broke');
      },
      () => 0,
    );
    await assert.rejects(run, /peer 1 broke/);
    assert.equal(under, 0);
  });

  it('keeps peers busy at the same time: equal steps take B + M − 1 turns, not B · M', async () => {
    const orders = Array.from({ length: 20 }, () => [0, 1, 2]);
    const shape = { peers: 3, microBatch: 1, sequential: true, independent: false, judged: false, orders };
    const turns = await simulate(planRound(shape), 3);
    assert.equal(turns, 20 + 3 - 1);
    const rotated = orders.map((_, item) => [0, 1, 2].map((k) => (item + k) % 3));
    assert.ok((await simulate(planRound({ ...shape, orders: rotated }), 3)) <= 21);
  });
});

/** Turns until the plan is over if every call takes one turn. */
async function simulate(steps: Step[], peers: number): Promise<number> {
  let waiting: (() => void)[] = [];
  let turns = 0;
  let done = false;
  const run = runSteps(
    steps,
    peers,
    () => new Promise<void>((resolve) => waiting.push(resolve)),
    () => 0,
  ).then(() => (done = true));
  while (!done) {
    const turn = waiting;
    waiting = [];
    if (turn.length > 0) turns++;
    turn.forEach((resolve) => resolve());
    await new Promise((resolve) => setImmediate(resolve));
  }
  await run;
  return turns;
}

function stepsOf(steps: Step[], kind: Step['kind'], peer: number, item: number): Step[] {
  return steps.filter((step) => step.kind === kind && step.peer === peer && step.items.includes(item));
}

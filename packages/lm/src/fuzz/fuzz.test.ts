import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runFuzz } from './run-fuzz.js';
import type { CaseFailure } from './run-fuzz.js';

/**
 * `PARLEY_FUZZ_SEED`, `PARLEY_FUZZ_RUNS` and `PARLEY_FUZZ_FROM` go elsewhere, on for longer, or repeat one case: a
 * failure prints them.
 */
const { PARLEY_FUZZ_SEED: seedText, PARLEY_FUZZ_RUNS: runsText, PARLEY_FUZZ_FROM: fromText } = process.env;
const seed = Number(seedText ?? 1);
const from = Number(fromText ?? 0);

const limits = { caseMs: 30_000, heapMegabytes: 256, maxFailures: 10 };

/** Random cases of each target; as many as fit half a minute of CI together. */
const randomRuns = {
  config: 700,
  weights: 900,
  shards: 400,
  state: 900,
  adapter: 900,
  tokenizer: 500,
  'chat-template': 200,
} as const;

/** Of the sweep of every field with every value, each of so many cases is run: all fields come up. */
const sweepStrides = { config: 3, adapter: 1, tokenizer: 17 } as const;

describe('damaged files', { concurrency: 2 }, () => {
  for (const [target, runs] of Object.entries(randomRuns)) {
    test(`${target}: random damage is refused with file and field, or does none`, async () => {
      const job = {
        target,
        kind: 'random',
        seed,
        stride: 1,
        from,
        to: from + Number(runsText ?? runs),
      } as const;
      const { ran, failures } = await runFuzz(job, limits);
      assert.equal(failures.length, 0, report(target, failures));
      assert.equal(ran, job.to - job.from);
    });
  }

  for (const [target, stride] of Object.entries(sweepStrides)) {
    test(`${target}: every field removed, null, of another type, negative, zero and huge`, async () => {
      const job = { target, kind: 'sweep', seed, stride, from: 0, to: null } as const;
      const { ran, failures } = await runFuzz(job, limits);
      assert.equal(failures.length, 0, report(target, failures));
      assert.ok(ran > 300, `only ${ran} cases`);
    });
  }
});

test('a reader that crashes, hangs or fails without a name is caught, and the cases after it run', async () => {
  const job = { target: 'broken', kind: 'random', seed, stride: 1, from: 0, to: 6 } as const;
  const { ran, failures } = await runFuzz(job, { ...limits, caseMs: 3000 });
  assert.equal(ran, 6);
  assert.deepEqual(
    failures.map(({ index, complaint }) => [index, complaint.replace(/:.*|\(.*/s, '').trim()]),
    [
      [1, 'not an error of this package'],
      [2, 'still running after 3000 ms'],
      [3, 'ended its process'],
      [4, 'names no file'],
    ],
  );
});

function report(target: string, failures: readonly CaseFailure[]): string {
  const lines = failures.map(
    ({ index, what, complaint, error, stack }) =>
      `${what}\n  ${complaint}\n  ${error}\n${stack}\n  repeat: PARLEY_FUZZ_SEED=${seed} PARLEY_FUZZ_FROM=${index} PARLEY_FUZZ_RUNS=1 ` +
      `node --test --test-name-pattern='^${target}: random' packages/lm/dist/fuzz/fuzz.test.js`,
  );
  return `${failures.length} cases failed:\n${lines.join('\n')}`;
}

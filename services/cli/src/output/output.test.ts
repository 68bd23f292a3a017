import assert from 'node:assert/strict';
import { test } from 'node:test';
import { count, duration, nearPath, percent, plural, points, pointsInterval } from './format.js';
import { createTerminal } from './terminal.js';
import { renderTable } from './text-table.js';

test('a table lines its columns up and ends no line in a space', () => {
  const columns = [{ heading: 'peer' }, { heading: 'share', align: 'right' as const }, { heading: 'note' }];
  const text = renderTable(columns, [
    ['llama', '84.2 %', ''],
    ['é→x', '7 %', 'weak'],
  ]);
  assert.equal(
    text,
    ['peer    share  note', '───────────────────', 'llama  84.2 %', 'é→x       7 %  weak'].join('\n'),
  );
});

test('numbers read as people write them', () => {
  assert.deepEqual(
    [percent(0.8421), percent(NaN), percent(undefined), percent(1, 0)],
    ['84.2 %', '–', '–', '100 %'],
  );
  assert.deepEqual(
    [points(0.0243), points(-0.011), points(0.0001), points(-0)],
    ['+2.4', '−1.1', '±0.0', '±0.0'],
  );
  assert.equal(pointsInterval([-0.004, 0.03]), '[−0.4, +3.0]');
  assert.deepEqual([0.42, 42, 59.7, 60, 200, 7500].map(duration), [
    '0.4 s',
    '42 s',
    '1 min',
    '1 min',
    '3 min 20 s',
    '2 h 5 min',
  ]);
  assert.deepEqual([999, 450_000, 1_234_567, 2.6e9].map(count), ['999', '450 k', '1.23 M', '2.6 G']);
  assert.deepEqual(
    [plural(1, 'round'), plural(2n, 'round'), plural(0, 'round')],
    ['1 round', '2 rounds', '0 rounds'],
  );
});

function recorder(isTTY: boolean) {
  let written = '';
  let clock = 0;
  const sink = { isTTY, columns: 60, write: (text: string) => void (written += text) };
  const terminal = createTerminal({ sink, now: () => clock });
  return { terminal, written: () => written, at: (ms: number) => (clock = ms) };
}

test('away from a terminal, progress is a line every few seconds with rate and time left', () => {
  const { terminal, written, at } = recorder(false);
  const progress = terminal.progress({ label: 'Before', total: 100, unit: 'answers' });
  at(1000);
  progress.advance(10);
  assert.equal(written(), '');
  at(5000);
  progress.advance(15);
  assert.equal(written(), 'Before: 25/100 answers, 5.0 answers/s, 15 s left\n');
  at(20_000);
  progress.advance(75);
  progress.done();
  progress.done();
  assert.match(written(), /\nBefore: 100 answers in 20 s \(5\.0 answers\/s\)\n$/);
});

test('what takes less than two seconds says nothing, nor does what is abandoned', () => {
  const { terminal, written, at } = recorder(false);
  const quick = terminal.progress({ label: 'a', total: 1, unit: 'steps' });
  at(1900);
  quick.advance();
  quick.done();
  const failed = terminal.progress({ label: 'b', total: 1, unit: 'steps' });
  at(4000);
  failed.abandon();
  assert.equal(written(), '');
});

test('on a terminal the bar is redrawn in place, cut to its width, and lines stay above it', () => {
  const { terminal, written, at } = recorder(true);
  const progress = terminal.progress({ label: 'Training', total: 4, unit: 'updates' });
  at(1000);
  progress.advance();
  const bar = 'Training █████░░░░░░░░░░░░░░░ 1/4 updates, 1.0 updates/s, 3';
  assert.equal(written(), `${bar.slice(0, 58)}…`);
  terminal.line('round 0');
  assert.ok(written().endsWith(`\r\u001b[2Kround 0\n${bar.slice(0, 58)}…`));
  progress.done();
  assert.ok(written().endsWith('\r\u001b[2K'));
});

test('a path inside the current folder is shown from there, any other in full', () => {
  assert.equal(nearPath('/home/a/.parley/runs', '/home/a'), '.parley/runs');
  assert.equal(nearPath('/var/lib', '/home/a'), '/var/lib');
  assert.equal(nearPath('/home/ab', '/home/a'), '/home/ab');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { sameAnswer } from './same-answer.js';

const equal: Readonly<Record<string, readonly [string, string][]>> = {
  numbers: [
    ['\\frac{14}{3}', '14/3'],
    ['\\frac34', '0.75'],
    ['\\dfrac9{19}', '9/19'],
    ['-\\frac{1}{2}', '-.5'],
    ['1\\frac{4}{5}', '9/5'],
    ['137 \\frac{1}{2}', '137.5'],
    ['32,\\!348', '32348'],
    ['11,\\! 111,\\! 100', '11111100'],
    ['58,500', '58500'],
    ['10\\,080', '10080'],
    ['2\\cdot 10^3', '2000'],
    ['10^{-3}', '0.001'],
    ['x^{2}-x^2+4!', '24'],
  ],
  'radicals and constants': [
    ['11 \\sqrt{5} + 11', '11(\\sqrt5+1)'],
    ['\\frac{\\sqrt{3}}{3}', '\\frac{1}{\\sqrt{3}}'],
    ['\\sqrt[3]{-8}', '-2'],
    ['\\sqrt12', '\\sqrt{1}2'],
    ['\\frac{20000}{\\pi}', '20000/pi'],
    ['-2+7i', '7i - 2'],
    ['\\log_2 8', '3'],
    ['e^{i\\pi}', '-1'],
  ],
  'units and signs': [
    ['15\\mbox{ cm}^2', '15'],
    ['5.4 \\text{ cents}', '5.4'],
    ['36 apples', '36'],
    ['\\frac{270}7\\text{ degrees}', '270/7'],
    ['106^\\circ', '106'],
    ['30^{\\circ}', '30°'],
    ['\\$18.90', '18.9'],
    ['10\\%', '10'],
  ],
  'expressions in variables': [
    ['(a+5)(b+2)', 'ab+2a+5b+10'],
    ['6r^2-4r-24', '2(3r^2-2r-12)'],
    ['\\cot x', '\\frac{\\cos x}{\\sin x}'],
    ['\\sin 2x', '2\\sin(x)\\cos(x)'],
    ['\\sin^2\\theta + \\cos^2\\theta', '1'],
    ['x_1 + x_{2}', 'x_2 + x_1'],
    ['|x|', '\\lvert x \\rvert'],
    ['2*x**2', '2x^2'],
    ['sin x', '\\sin(x)'],
    ['abc', 'a b c'],
  ],
  equations: [
    ['x=5', '5'],
    ['5x - 7y + 4 = 0', '-5x+7y=4'],
    ['y = 2x+3', '2x - y = -3'],
  ],
  'tuples and intervals': [
    ['\\left( 3, \\frac{\\pi}{2} \\right)', '(3,\\pi/2)'],
    ['\\left(\\frac{3}{5},\\frac{8}{3}\\right]', '(0.6, 8/3]'],
    ['x \\in [-2,7]', '[-2,7]'],
    ['(-\\infty, 2) \\cup (3, \\infty)', '(3,\\infty)\\cup(-\\infty,2)'],
  ],
  'sets and lists': [
    ['1,-2', '-2, 1'],
    ['\\{1\\pm\\sqrt{5},-2\\}', '\\{-2,1+\\sqrt5,1-\\sqrt5\\}'],
    ['3 \\pm 2 \\sqrt{2}', '3+2\\sqrt2, 3-2\\sqrt2'],
    ['x = 15, y = 9', '15, 9'],
    ['x = 15 and y = 9', '9, 15'],
    ['1, 2, \\text{ and } 3', '3,2,1'],
    ['15, 9', '9 and 15'],
    ['137, 388', '388 and 137'],
    ['137, 388', 'x = 388, y = 137'],
    ['15 novelists and 9 poets', '9, 15'],
    ['3,000 and 4,000', '4000, 3000'],
  ],
  matrices: [
    ['\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}', '\\begin{bmatrix}-1&0\\\\0&-1\\end{bmatrix}'],
    ['\\begin{pmatrix} 1/5 \\\\ -18/5 \\end{pmatrix}', '\\begin{pmatrix} 0.2 \\\\ -3.6 \\end{pmatrix}'],
  ],
  words: [
    ['\\text{(B)}', 'B'],
    ['\\text{Evelyn}', 'evelyn'],
    ['\\textbf{even}', 'Even.'],
    ['204_5', '204_{5}'],
  ],
};

const different: readonly [string, string][] = [
  ['2k', '2k+1'],
  ['x+1', 'x-1'],
  ['\\frac{1}{2}', '\\frac{1}{3}'],
  ['6366.3', '\\frac{20000}{\\pi}'],
  ['(2,\\infty)', '[2,\\infty)'],
  ['(3,4]', '(3,4)'],
  ['(1,2)', '(2,1)'],
  ['(1,2)', '1,2'],
  ['1,2', '1,2,2'],
  ['1,1,2', '1,2,2'],
  ['15, 9', '15'],
  ['15, 9', '15, 15'],
  ['x = 15, y = 9', 'x = 9, y = 15'],
  ['137,388', '388,137'],
  ['-\\infty', '\\infty'],
  ['x=5', '6'],
  ['y=2x', 'y=3x'],
  ['y=2x', '4x'],
  ['\\begin{pmatrix} 1 & 2 \\end{pmatrix}', '\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}'],
  ['\\text{east}', 'west'],
  ['stale', 'least'],
  ['204_5', '204_6'],
  ['1/0', '2/0'],
  ['', ''],
  ['', '3'],
];

for (const [name, pairs] of Object.entries(equal)) {
  test(`${name}: the same however they are written`, () => {
    for (const [a, b] of pairs) {
      assert.ok(sameAnswer(a, b), `${a} is ${b}`);
      assert.ok(sameAnswer(b, a), `${b} is ${a}`);
    }
  });
}

test('what differs stays different', () => {
  for (const [a, b] of different) {
    assert.ok(!sameAnswer(a, b), `${a} is not ${b}`);
    assert.ok(!sameAnswer(b, a), `${b} is not ${a}`);
  }
});

test('a polynomial is its expansion, and nothing near it', () => {
  const root = fc.integer({ min: -9, max: 9 });
  fc.assert(
    fc.property(root, root, root, fc.integer({ min: 1, max: 3 }), (a, b, c, off) => {
      const factors = `(x-(${a}))(x-(${b}))(x-(${c}))`;
      const expanded = (constant: number): string =>
        `x^3 + (${-(a + b + c)})x^2 + (${a * b + b * c + c * a})x + (${constant})`;
      assert.ok(sameAnswer(factors, expanded(-a * b * c)));
      assert.ok(!sameAnswer(factors, expanded(-a * b * c + off)));
    }),
  );
});

test('any text is judged, the same in both directions, and long or deep ones soon', () => {
  const pieces = fc.array(
    fc.constantFrom(
      '\\frac',
      '{',
      '}',
      '(',
      ')',
      '[',
      ',',
      '^',
      '_',
      '\\sqrt',
      '1',
      'x',
      '\\pm',
      '=',
      '\\text',
      '\\\\',
      '&',
      ' ',
      '!',
    ),
    { maxLength: 30 },
  );
  const text = fc.oneof(
    fc.string(),
    pieces.map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(sameAnswer(a, b), sameAnswer(b, a));
    }),
    { numRuns: 2000 },
  );
  for (const long of [
    '('.repeat(100_000),
    '1,'.repeat(100_000),
    '\\frac'.repeat(50_000),
    '^'.repeat(999),
    '('.repeat(999),
  ])
    assert.equal(sameAnswer(long, '1'), false);
});

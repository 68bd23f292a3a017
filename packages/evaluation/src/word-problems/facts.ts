import { FAMILIES, MAX_FACTOR } from './families.js';
import type { WordProblem } from './problem.js';

/** The product x · y (x ≤ y) with which a problem begins, written `x*y`, where it begins with one. */
export function factsOf({ family, numbers: { a, b } }: WordProblem): string[] {
  return FAMILIES[family].operators[0] === '*' ? [factName(a, b)] : [];
}

/** All products in order of their size, neighbours by threes. */
export function factTriples(): [string, string, string][] {
  const facts: [number, number][] = [];
  for (let x = 2; x <= MAX_FACTOR; x++) for (let y = x; y <= MAX_FACTOR; y++) facts.push([x, y]);
  const names = facts.sort(([a, b], [c, d]) => a * b - c * d || a - c).map(([x, y]) => factName(x, y));
  return Array.from({ length: Math.floor(names.length / 3) }, (_, i) => [
    names[3 * i],
    names[3 * i + 1],
    names[3 * i + 2],
  ]);
}

function factName(x: number, y: number): string {
  return `${Math.min(x, y)}*${Math.max(x, y)}`;
}

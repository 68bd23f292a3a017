/**
 * One dimension: a size, or a symbol such as `'S'` fixed only when the graph runs. Products of symbols are written with
 * `*` (`'B*T'`); two symbolic dimensions are the same size exactly when they are the same string.
 */
export type Dim = number | string;

/** A tensor's dimensions, outermost first; `[]` is a scalar. */
export type Shape = readonly Dim[];

/** `[2,S,64]`, as error messages print it. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`;
}

/** Whether two shapes agree in rank and in every dimension. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** Whether every dimension is a number. */
export function isStatic(shape: Shape): shape is readonly number[] {
  return shape.every((dim) => typeof dim === 'number');
}

/** Number of elements of a static shape; `undefined` when a dimension is symbolic. */
export function elementCount(shape: Shape): number | undefined {
  return isStatic(shape) ? shape.reduce((product, dim) => product * dim, 1) : undefined;
}

/**
 * Maps a possibly negative axis into `0..rank-1`; `undefined` when it lies outside (the caller names the operator).
 */
export function normalizeAxis(axis: number, rank: number): number | undefined {
  const positive = axis < 0 ? axis + rank : axis;
  return Number.isInteger(positive) && positive >= 0 && positive < rank ? positive : undefined;
}

/**
 * NumPy broadcasting. Returns `undefined` when the shapes do not broadcast, or when that would depend on the value of a
 * symbol (`'S'` against `5`).
 */
export function broadcastShapes(a: Shape, b: Shape): Dim[] | undefined {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    out.push(x === 1 ? y : x);
  }
  return out;
}

/** A product of a number and symbols: the size of a symbolic shape. */
interface Monomial {
  readonly coefficient: number;
  readonly symbols: readonly string[];
}

function monomial(shape: Shape): Monomial {
  let coefficient = 1;
  const symbols: string[] = [];
  for (const dim of shape) {
    if (typeof dim === 'number') coefficient *= dim;
    else
      for (const factor of dim.split('*')) {
        if (/^\d+$/.test(factor)) coefficient *= Number(factor);
        else symbols.push(factor);
      }
  }
  return { coefficient, symbols: symbols.sort() };
}

function toDim({ coefficient, symbols }: Monomial): Dim {
  if (symbols.length === 0) return coefficient;
  return (coefficient === 1 ? symbols : [String(coefficient), ...symbols]).join('*');
}

/** The product of some dimensions as one dimension: `['B', 'T', 4]` gives `'4*B*T'`. */
export function productOf(shape: Shape): Dim {
  return toDim(monomial(shape));
}

/**
 * The dimension `x` with `product(known) * x = product(whole)`, or `undefined` when there is none: how a `-1` in a
 * reshape is resolved.
 */
export function quotientOf(whole: Shape, known: Shape): Dim | undefined {
  const a = monomial(whole);
  const b = monomial(known);
  const rest = [...a.symbols];
  for (const symbol of b.symbols) {
    const at = rest.indexOf(symbol);
    if (at < 0) return undefined;
    rest.splice(at, 1);
  }
  if (b.coefficient === 0 || a.coefficient % b.coefficient !== 0) return undefined;
  return toDim({ coefficient: a.coefficient / b.coefficient, symbols: rest });
}

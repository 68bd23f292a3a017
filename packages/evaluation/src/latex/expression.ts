import { Complex } from 'complex.js';
import { readTokens } from './tokens.js';
import type { Token } from './tokens.js';

/** An expression with its free variables, to be evaluated at a point. */
export interface Expression {
  readonly variables: ReadonlySet<string>;
  evaluate(valueOf: (variable: string) => Complex): Complex;
}

/** Thrown inside the parser for what is no expression. */
class NotAnExpression extends Error {}

type Node = (valueOf: (variable: string) => Complex) => Complex;

const constants: Readonly<Record<string, Complex>> = {
  e: new Complex(Math.E, 0),
  i: Complex.I,
  '\\pi': Complex.PI,
  '\\infty': new Complex(Infinity, 0),
};

const functions: Readonly<Record<string, (x: Complex) => Complex>> = {
  '\\sin': (x) => x.sin(),
  '\\cos': (x) => x.cos(),
  '\\tan': (x) => x.tan(),
  '\\cot': (x) => x.cot(),
  '\\sec': (x) => x.sec(),
  '\\csc': (x) => x.csc(),
  '\\arcsin': (x) => x.asin(),
  '\\arccos': (x) => x.acos(),
  '\\arctan': (x) => x.atan(),
  '\\sinh': (x) => x.sinh(),
  '\\cosh': (x) => x.cosh(),
  '\\tanh': (x) => x.tanh(),
  '\\exp': (x) => x.exp(),
  '\\ln': (x) => x.log(),
  '\\log': (x) => x.log().div(Math.LN10),
};

const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** Reads a formula in LaTeX or in plain text (`3/4`, `2*x^2`); null for what is none. */
export function parseExpression(latex: string): Expression | null {
  const tokens = readTokens(latex);
  if (tokens === null || tokens.length === 0) return null;
  try {
    const variables = new Set<string>();
    const parser = createParser(tokens, variables);
    const node = parser.sum();
    parser.end();
    return { variables, evaluate: node };
  } catch (error) {
    if (error instanceof NotAnExpression) return null;
    throw error;
  }
}

function createParser(tokens: readonly Token[], variables: Set<string>) {
  let at = 0;
  const peek = (ahead = 0): string | undefined => tokens[at + ahead]?.text;
  const fail = (): never => {
    throw new NotAnExpression();
  };
  const take = (text: string): void => {
    if (peek() !== text) fail();
    at++;
  };
  const isNumber = (ahead = 0): boolean => tokens[at + ahead]?.kind === 'number';

  const sum = (): Node => {
    let left = product();
    for (;;) {
      const sign = peek();
      if (sign !== '+' && sign !== '-') return left;
      at++;
      const [a, b] = [left, product()];
      left = sign === '+' ? (v) => a(v).add(b(v)) : (v) => a(v).sub(b(v));
    }
  };
  const product = (): Node => {
    let left = signed();
    for (;;) {
      const operator = peek();
      if (operator === '*' || operator === '/') at++;
      else if (!startsFactor()) return left;
      const [a, b] = [left, operator === '*' || operator === '/' ? signed() : power()];
      left = operator === '/' ? (v) => a(v).div(b(v)) : (v) => a(v).mul(b(v));
    }
  };
  const signed = (): Node => {
    const sign = peek();
    if (sign !== '+' && sign !== '-') return power();
    at++;
    const inner = signed();
    return sign === '+' ? inner : (v) => inner(v).neg();
  };
  const startsFactor = (): boolean => {
    const token = tokens[at];
    if (token === undefined) return false;
    if (token.kind === 'number' || token.kind === 'letter') return true;
    if (token.kind === 'command') return token.text !== '\\right';
    return token.text === '(' || token.text === '[' || token.text === '{';
  };
  const power = (): Node => {
    let base = atom();
    while (peek() === '!') {
      at++;
      const inner = base;
      base = (v) => factorial(inner(v));
    }
    if (peek() !== '^') return base;
    at++;
    const exponent = argument();
    return (v) => base(v).pow(exponent(v));
  };
  /** What follows `^` or a command: a group, or a single token. */
  const argument = (): Node => {
    if (peek() === '{') return group();
    if (peek() === '-') {
      at++;
      const inner = argument();
      return (v) => inner(v).neg();
    }
    // `x^23` is x² · 3 in LaTeX, and x²³ to whoever writes it so: digits stay together except after \frac and \sqrt.
    return atom();
  };
  /** An argument of `\frac` or `\sqrt`: of digits that stand together the first alone. */
  const commandArgument = (): Node => {
    const token = tokens[at];
    if (token?.kind !== 'number' || token.text.length === 1) return argument();
    const digit = Number(token.text[0]);
    const rest = token.text.slice(1);
    tokens = [
      ...tokens.slice(0, at),
      { kind: 'number', text: token.text[0] },
      { kind: 'number', text: rest },
      ...tokens.slice(at + 1),
    ];
    at++;
    return () => new Complex(digit, 0);
  };
  const group = (): Node => {
    const open = peek()!;
    at++;
    const inner = sum();
    take(closing[open]);
    return inner;
  };
  const fraction = (): Node => {
    take('\\frac');
    const [a, b] = [commandArgument(), commandArgument()];
    return (v) => a(v).div(b(v));
  };
  const atom = (): Node => {
    const token = tokens[at];
    if (token === undefined) return fail();
    const { text } = token;
    if (token.kind === 'number') {
      at++;
      const value = new Complex(Number(text), 0);
      // A mixed number: a whole one directly before a fraction of whole ones.
      if (/^\d+$/.test(text) && peek() === '\\frac' && isMixed()) {
        const part = fraction();
        return (v) => value.add(part(v));
      }
      return () => value;
    }
    if (text === '(' || text === '[' || text === '{') return group();
    if (text === '|') {
      at++;
      const inner = sum();
      take('|');
      return (v) => new Complex(inner(v).abs(), 0);
    }
    if (text === '\\frac') return fraction();
    if (text === '\\sqrt') return root();
    if (functions[text]) return call(text);
    if (Object.hasOwn(constants, text)) {
      at++;
      return () => constants[text];
    }
    if (token.kind !== 'letter' && !isGreek(text)) return fail();
    at++;
    const name = text + subscript();
    variables.add(name);
    return (v) => v(name);
  };
  const isMixed = (): boolean => {
    if (isNumber(1)) return true;
    return peek(1) === '{' && isNumber(2) && peek(3) === '}';
  };
  const root = (): Node => {
    at++;
    let degree: Node = () => new Complex(2, 0);
    if (peek() === '[') degree = group();
    const inner = commandArgument();
    return (v) => {
      const [x, n] = [inner(v), degree(v)];
      // The real root of a negative number, as an odd root is meant.
      const isOdd = n.im === 0 && Math.abs(n.re % 2) === 1;
      if (isOdd && x.im === 0 && x.re < 0) return x.neg().pow(new Complex(1, 0).div(n)).neg();
      return x.pow(new Complex(1, 0).div(n));
    };
  };
  const call = (name: string): Node => {
    at++;
    let base: Node | undefined;
    if (name === '\\log' && peek() === '_') {
      at++;
      base = argument();
    }
    let exponent: Node | undefined;
    if (peek() === '^') {
      at++;
      exponent = argument();
    }
    const inner = peek() === '(' ? atom() : factors();
    return (v) => {
      const x = inner(v);
      const value = base ? x.log().div(base(v).log()) : functions[name](x);
      return exponent ? value.pow(exponent(v)) : value;
    };
  };
  /** What a function applies to without parentheses: `\sin 2x`. */
  const factors = (): Node => {
    let left = power();
    while (startsFactor() && !functions[peek()!]) {
      const [a, b] = [left, power()];
      left = (v) => a(v).mul(b(v));
    }
    return left;
  };
  const subscript = (): string => {
    if (peek() !== '_') return '';
    at++;
    if (peek() !== '{') return `_${tokens[at++]?.text ?? fail()}`;
    at++;
    let name = '_';
    while (peek() !== '}') name += tokens[at++]?.text ?? fail();
    at++;
    return name;
  };
  const end = (): void => {
    if (at < tokens.length) fail();
  };
  return { sum, end };
}

function isGreek(text: string): boolean {
  return /^\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|phi|varphi|omega|sigma|tau|rho|eta)$/.test(
    text,
  );
}

function factorial(x: Complex): Complex {
  if (x.im !== 0 || !Number.isInteger(x.re) || x.re < 0 || x.re > 170) return new Complex(NaN, NaN);
  let product = 1;
  for (let i = 2; i <= x.re; i++) product *= i;
  return new Complex(product, 0);
}

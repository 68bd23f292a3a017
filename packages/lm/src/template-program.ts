import * as jinja from '@huggingface/jinja';
import { createTimeLimit } from './time-limit.js';

/** A parsed template that can be rendered again and again. */
export interface TemplateProgram {
  /** @throws Error when the template fails, or needs more time or memory than any real one. */
  render(items: Readonly<Record<string, unknown>>): string;
}

interface Value {
  readonly value: unknown;
}
interface Environment {
  set(name: string, value: unknown): unknown;
}
interface Interpreter {
  evaluate(statement: unknown, environment: unknown): Value;
  run(program: unknown): Value;
}
/** What is used of the library, whose own declarations do not resolve under NodeNext. */
const { Environment, Interpreter, Template } = jinja as unknown as {
  readonly Environment: new () => Environment;
  readonly Interpreter: new (environment: Environment) => Interpreter;
  readonly Template: new (source: string) => { readonly parsed: unknown };
};

/** Published templates have up to 20 thousand characters. */
const maxSource = 1 << 18;
/** The longest list that a template may make. A conversation has one message here. */
const maxItems = 10_000;
/** Evaluations of parts of the template, list items and every 64 characters counted alike; real ones take hundreds. */
const maxSteps = 100_000;
/** Beyond the characters that go in. */
const maxCharacters = 1 << 20;
/** For what is not counted: printing a list that contains itself many times over, say. */
const timeLimitMs = 5_000;

/**
 * Parses a chat template.
 * @throws Error for a template that does not parse.
 */
export function createTemplateProgram(source: string): TemplateProgram {
  if (source.length > maxSource)
    throw new Error(`it has ${source.length} characters, more than ${maxSource}`);
  const timeLimit = createTimeLimit();
  const late = (): Error => new Error(`it takes more than ${timeLimitMs} ms`);
  const { parsed } = timeLimit.run(timeLimitMs, () => new Template(source), late);
  return {
    render(items) {
      const interpreter = new Interpreter(globals(items));
      limit(interpreter, JSON.stringify(items).length);
      return timeLimit.run(timeLimitMs, () => String(interpreter.run(parsed).value), late);
    },
  };
}

/** What the library's `Template.render` defines, but for a `range` without bounds and a clock. */
function globals(items: Readonly<Record<string, unknown>>): Environment {
  const environment = new Environment();
  const values = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range: boundedRange,
    raise_exception(message: unknown): never {
      throw new Error(String(message));
    },
    ...items,
  };
  for (const [name, value] of Object.entries(values)) environment.set(name, value);
  return environment;
}

function boundedRange(from: number, to?: number, step = 1): number[] {
  const [start, end] = to === undefined ? [0, from] : [from, to];
  const count = Math.max(0, Math.ceil((end - start) / step));
  if (!(count <= maxItems)) throw new Error(`range() makes ${count} items, more than ${maxItems}`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

/** Counts what the interpreter does: every value it makes, of whatever part of the template, passes `evaluate`. */
function limit(interpreter: Interpreter, inputCharacters: number): void {
  const evaluate = interpreter.evaluate.bind(interpreter);
  const maxLength = maxCharacters + 4 * inputCharacters;
  const budget = maxSteps + inputCharacters;
  let steps = 0;
  interpreter.evaluate = (statement, environment) => {
    if (++steps > budget) throw new Error(`it takes more than ${budget} steps`);
    const result = evaluate(statement, environment);
    const { value } = result;
    if (typeof value === 'string') {
      if (value.length > maxLength) throw new Error(`it makes a text of ${value.length} characters`);
      steps += value.length / 64;
    } else if (Array.isArray(value) || value instanceof Map) {
      const items = Array.isArray(value) ? value.length : value.size;
      if (items > maxItems) throw new Error(`it makes a list of ${items} items, more than ${maxItems}`);
      steps += items;
    }
    return result;
  };
}

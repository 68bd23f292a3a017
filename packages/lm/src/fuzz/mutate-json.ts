import type { Draw } from './draw.js';

/** A changed file. */
export interface Mutation {
  readonly bytes: Uint8Array;
  /** What was done, for repeating it by hand. */
  readonly description: string;
  /** Keys down to what was changed, when that is one place of a document that is still JSON; an error must name one. */
  readonly path: readonly string[] | null;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Container = Json[] | Record<string, Json>;

/** Values that parsers, sizes, indices and messages trip over. */
const values: readonly (() => Json)[] = [
  ...[null, true, false, 0, -1, 1, 2, 7, 3.5, 255, 65536, 1e9, 2 ** 31, 2 ** 32 - 2, 2 ** 53, 1e308, -1e308],
  ...[
    5e-324,
    '',
    'x',
    ' ',
    '-1',
    '1',
    'true',
    '\u0000',
    '\ud800',
    '🦜',
    '__proto__',
    '../../etc/passwd',
    'type',
  ],
].map((value) => () => value);
const structures: readonly (() => Json)[] = [
  () => [],
  () => ({}),
  () => [null],
  () => [[]],
  () => [0, 0],
  () => [1e9, 1e9],
  () => [2 ** 32, 2 ** 32],
  () => Array.from({ length: 300 }, (_, i) => i),
  () => ({ toString: 1, valueOf: null }),
  () => [{ toString: 1 }],
  () => JSON.parse('{"__proto__": {"type": "Sequence"}}') as Json,
  () => ({ constructor: null, hasOwnProperty: 1 }),
  () => 'x'.repeat(100_000),
  () => nested(500),
];

/** Strings that some key of the four files takes. */
const words: Readonly<Record<string, readonly string[]>> = {
  type: [
    ...[
      'BPE',
      'Unigram',
      'WordPiece',
      'WordLevel',
      'Sequence',
      'Split',
      'ByteLevel',
      'Replace',
      'Strip',
      'Fuse',
    ],
    ...['ByteFallback', 'Metaspace', 'NFC', 'NFKC', 'Lowercase', 'Prepend', 'BertNormalizer', 'Precompiled'],
    ...['FixedLength', 'Digits', 'Punctuation', 'Whitespace', 'WhitespaceSplit', 'BertPreTokenizer'],
    ...[
      'TemplateProcessing',
      'BertProcessing',
      'RobertaProcessing',
      'CTC',
      'BPEDecoder',
      'StripAccents',
      'Nope',
    ],
  ],
  Regex: [
    ...[
      '(',
      '[',
      '(a+)+$',
      '(\\p{L}+)*\\d',
      '(.*)*!',
      '\\s+(?!\\S)',
      '(?<n>a)\\k<n>',
      '(?i:x',
      '\\p{Nope}',
      '',
      '^',
    ],
    ...[
      'a{1,1000000000}',
      '(?:a{1000}){1000}',
      '(x+x+)+y',
      '(\\s|\\s)+\\S',
      '[z-a]',
      '(?<=a+)b',
      '()*',
      '|',
      '\\',
    ],
    ...['(?:a?){30}a{30}', '(e|ee)+q', '[['.repeat(300)],
  ],
  behavior: ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous', 'Nope'],
  dtype: [
    'F32',
    'F16',
    'BF16',
    'F64',
    'I64',
    'BOOL',
    'F4',
    'F8_E8M0',
    'C64',
    'f32',
    '',
    'toString',
    '__proto__',
  ],
  rope_type: ['default', 'llama3', 'yarn', 'linear', 'dynamic'],
  hidden_act: ['silu', 'swish', 'gelu', 'relu'],
  hidden_activation: ['gelu_pytorch_tanh', 'gelu_new', 'gelu'],
};

/** The sweep every field is put through, whatever the draw: removed (undefined), null, wrong types, edges of numbers. */
export const fieldValues: readonly (Json | undefined)[] = [
  ...[undefined, null, true, false, 0, -1, 1, 0.5, 3, 1e9, 2 ** 53, 1e308, -1e308, '', 'x', '1'],
  ...[[], {}, [null], [[]], { toString: 1 }, [1e9]],
];

/** Changes one JSON document in one to three places, or its text. */
export function mutateJson(draw: Draw, source: Uint8Array): Mutation {
  if (draw.chance(0.15)) return mutateText(draw, source);
  const document = { root: JSON.parse(Buffer.from(source).toString()) as Json };
  const changes = draw.chance(0.75) ? 1 : 1 + draw.below(3);
  const done = Array.from({ length: changes }, () => mutateValue(draw, document));
  return {
    bytes: Buffer.from(JSON.stringify(document.root) ?? ''),
    description: done.map(({ description }) => description).join('; '),
    path: changes === 1 ? done[0].path : null,
  };
}

/** Sets field `path` of a document to `value`, or removes it. */
export function setField(source: Uint8Array, path: readonly string[], value: Json | undefined): Mutation {
  const document = JSON.parse(Buffer.from(source).toString()) as Json;
  let holder = document as Record<string, Json>;
  for (const key of path.slice(0, -1)) holder = holder[key] as Record<string, Json>;
  if (value === undefined) delete holder[path[path.length - 1]];
  else holder[path[path.length - 1]] = value;
  const bytes = Buffer.from(JSON.stringify(document));
  return { bytes, description: `${path.join('.')} = ${preview(value)}`, path };
}

function mutateValue(draw: Draw, document: { root: Json }): { description: string; path: string[] } {
  const { holder, key, path } = choosePlace(draw, document);
  const at = path.join('.') || 'the document';
  const current = (holder as Record<string, Json>)[key];
  const set = (value: Json, what: string): { description: string; path: string[] } => {
    put(holder, key, value);
    return { description: `${at}: ${what} ${preview(value)}`, path };
  };
  const known = words[path.at(-1) ?? ''];
  if (known && draw.chance(0.4)) return set(draw.pick(known), 'set to');
  switch (draw.below(9)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else if (path.length > 0) delete holder[key];
      else return set({}, 'set to');
      return { description: `${at}: removed`, path };
    case 1:
      return set(draw.pick(structures)(), 'set to');
    case 2:
      return set(
        draw.chance(0.5) ? [current] : { [draw.pick(['type', 'content', 'a'])]: current },
        'wrapped as',
      );
    case 3: {
      const other = choosePlace(draw, document);
      return set(
        clone((other.holder as Record<string, Json>)[other.key]),
        `copied from ${other.path.join('.')}:`,
      );
    }
    case 4:
      if (typeof current !== 'object' || current === null) return set(draw.pick(values)(), 'set to');
      if (Array.isArray(current)) {
        const value =
          draw.chance(0.5) && current.length > 0 ? clone(draw.pick(current)) : draw.pick(values)();
        current.splice(draw.below(current.length + 1), 0, value);
        return { description: `${at}: inserted ${preview(value)}`, path };
      } else {
        const name = draw.pick([
          '__proto__',
          'constructor',
          'toString',
          'type',
          'length',
          'a',
          '',
          'toJSON',
          'end',
        ]);
        put(current, name, draw.pick(values)());
        return { description: `${at}: added "${name}"`, path: [...path, name] };
      }
    case 5:
      return typeof current === 'number'
        ? set(
            draw.pick([current + 1, current - 1, -current, 2 * current, current / 2, current * 1e6]),
            'scaled to',
          )
        : set(draw.pick(values)(), 'set to');
    case 6:
      return typeof current === 'string'
        ? set(editText(draw, current), 'edited to')
        : set(draw.pick(values)(), 'set to');
    case 7:
      if (!Array.isArray(holder) && path.length > 0 && draw.chance(0.5)) {
        const renamed = `${key}_`;
        put(holder, renamed, current);
        delete holder[key];
        return { description: `${at}: renamed to "${renamed}"`, path };
      }
      return set(draw.pick(values)(), 'set to');
    default:
      return set(draw.pick(values)(), 'set to');
  }
}

/** A place of the document; each level is as likely as the next, however many members it has. */
function choosePlace(
  draw: Draw,
  document: { root: Json },
): { holder: Container; key: string; path: string[] } {
  let holder: Container = document;
  let key = 'root';
  const path: string[] = [];
  for (;;) {
    const value = (holder as Record<string, Json>)[key];
    const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    if (keys.length === 0 || draw.chance(path.length === 0 ? 0.02 : 0.3)) return { holder, key, path };
    holder = value as Container;
    key = draw.pick(keys);
    path.push(key);
  }
}

/** Damage below the level of JSON values. */
export function mutateText(draw: Draw, source: Uint8Array): Mutation {
  const text = Buffer.from(source).toString();
  const done = (changed: string | Uint8Array, description: string): Mutation => ({
    bytes: typeof changed === 'string' ? Buffer.from(changed) : changed,
    description,
    path: null,
  });
  const at = draw.below(text.length + 1);
  switch (draw.below(10)) {
    case 0:
      return done(text.slice(0, at), `cut after ${at} characters`);
    case 1:
      return done(
        text + draw.pick(['}', ',', '\u0000', text, ' '.repeat(1000), '/* */']),
        'something appended',
      );
    case 2:
      return done(`\uFEFF${text}`, 'byte order mark put in front');
    case 3: {
      const bytes = Uint8Array.from(source);
      const place = draw.below(bytes.length);
      bytes[place] ^= 1 << draw.below(8);
      return done(bytes, `bit flipped in byte ${place}`);
    }
    case 4: {
      const bytes = Uint8Array.from(source);
      const place = draw.below(bytes.length);
      bytes[place] = draw.pick([0, 0x22, 0x5b, 0x7b, 0x80, 0xc3, 0xff]);
      return done(bytes, `byte ${place} set to ${bytes[place]}`);
    }
    case 5: {
      const number = [...text.matchAll(/(?<=[:[,]\s*)-?\d[\d.e+-]*/g)];
      if (number.length === 0) return done('', 'emptied');
      const { index, 0: old } = draw.pick(number);
      const literal = draw.pick([
        'NaN',
        'Infinity',
        '1e999',
        '-1e999',
        '0x10',
        '007',
        '1.',
        '--1',
        '1'.repeat(400),
      ]);
      return done(
        text.slice(0, index) + literal + text.slice(index + old.length),
        `number at ${index} is ${literal}`,
      );
    }
    case 6: {
      const key = [...text.matchAll(/"([^"\\]+)"\s*:/g)];
      if (key.length === 0) return done('{}', 'emptied');
      const { index, 0: name } = draw.pick(key);
      const value = draw.pick(['null', '0', '"x"', '[]', '{}', '-1', '1e308']);
      return done(
        `${text.slice(0, index)}${name} ${value}, ${text.slice(index)}`,
        `${name} also given as ${value}`,
      );
    }
    case 7: {
      const depth = draw.pick([100, 5000, 100_000]);
      const [open, close] = draw.pick([
        ['[', ']'],
        ['{"a":', '1}'],
      ] as const);
      const bomb =
        open.repeat(depth) + (open === '[' ? '' : '0') + (open === '[' ? close : '}').repeat(depth);
      const value = [...text.matchAll(/(?<=:\s*)(null|true|false|-?\d+|"[^"\\]*")/g)];
      if (value.length === 0) return done(bomb, `nested ${depth} deep`);
      const { index, 0: old } = draw.pick(value);
      return done(
        text.slice(0, index) + bomb + text.slice(index + old.length),
        `nested ${depth} deep at ${index}`,
      );
    }
    case 8:
      return done(draw.pick(['', 'null', '[]', '0', '"x"', '{}', '\u0000', '{"a":1}']), 'replaced whole');
    default: {
      const length = draw.below(40);
      return done(text.slice(0, at) + text.slice(at + length), `${length} characters cut out at ${at}`);
    }
  }
}

function editText(draw: Draw, text: string): string {
  const at = draw.below(text.length + 1);
  const insert = draw.pick([
    '(',
    ')',
    '[',
    '*',
    '+',
    '{9',
    '\\',
    '\u0000',
    '\ud800',
    ' ',
    '{% for',
    '{{',
    '}}',
    'e',
    '│',
  ]);
  return draw.pick([text.slice(0, at), text.slice(0, at) + insert + text.slice(at), text.repeat(2), insert]);
}

function put(holder: Container, key: string, value: Json): void {
  // An own property also for "__proto__".
  Object.defineProperty(holder, key, { value, writable: true, enumerable: true, configurable: true });
}

function nested(depth: number): Json {
  let value: Json = [];
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

function clone(value: Json): Json {
  return value === undefined ? null : (JSON.parse(JSON.stringify(value)) as Json);
}

function preview(value: Json | undefined): string {
  const text = JSON.stringify(value) ?? 'removed';
  return text.length > 80 ? `${text.slice(0, 80)}… (${text.length} characters)` : text;
}

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { readJsonFile } from './config-json.js';
import { fixturesFolder, readGolden } from './io-test-support.js';
import { toyConfig } from './test-models.js';
import { createTextStream } from './tokenizer-stream.js';
import { createTokenizer } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';

/** What the reference implementation makes of a line of the corpus, or of ids in no order, which have no text. */
interface CorpusGolden {
  readonly ids: number[];
  /** What special tokens add before and after; absent without a text. */
  readonly around?: [before: number[], after: number[]];
  /** Absent where it is the text itself. */
  readonly decoded?: string;
  readonly decodedWithSpecialTokens?: string;
}

const corpus = readGolden('corpus.json') as string[];
const families = ['llama3', 'qwen', 'gemma2', 'mistral', 'mistral-v3', 'tekken'];

function load(family: string): Tokenizer {
  const folder = join(fixturesFolder, 'tokenizers', family);
  const files = {
    tokenizer: readJsonFile(join(folder, 'tokenizer.json')),
    tokenizerConfig: {},
    generationConfig: {},
    folder,
  };
  return createTokenizer(files, toyConfig('llama', { vocab_size: 920 }));
}

for (const family of families) {
  const tokenizer = load(family);
  const goldens = readGolden(`corpus-${family}.json`) as CorpusGolden[];
  const decodedOf = ({ decoded }: CorpusGolden, i: number): string => decoded ?? corpus[i];

  test(`${family}: every line of the corpus has the reference's ids, with and without special tokens`, () => {
    assert.ok(corpus.length > 400 && goldens.length > corpus.length);
    corpus.forEach((text, i) => {
      const { ids, around } = goldens[i];
      assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
      const wanted = [...around![0], ...ids, ...around![1]];
      assert.deepEqual(tokenizer.encode(text, { addSpecialTokens: true }), wanted, JSON.stringify(text));
    });
  });

  test(`${family}: ids decode to the reference's text, with and without special tokens`, () => {
    goldens.forEach((golden, i) => {
      assert.equal(tokenizer.decode(golden.ids), decodedOf(golden, i), `entry ${i}`);
      assert.equal(
        tokenizer.decode(golden.ids, { skipSpecialTokens: false }),
        golden.decodedWithSpecialTokens ?? corpus[i],
        `entry ${i}`,
      );
    });
  });

  test(`${family}: decoding token by token adds up to the whole`, () => {
    goldens.forEach((golden, i) => {
      const stream = createTextStream(tokenizer);
      const parts = golden.ids.map((id) => stream.push(id).text);
      assert.equal([...parts, stream.end()].join(''), decodedOf(golden, i), `entry ${i}`);
    });
  });

  test(`${family}: a lone surrogate counts as U+FFFD`, () => {
    for (const text of ['a\uD83D', '\uDE00b', 'x\uDE00\uD83Dy', '\uD83D\uD83D\uDE00'])
      assert.deepEqual(tokenizer.encode(text), tokenizer.encode(text.replace(/\p{Surrogate}/gu, '\uFFFD')));
    assert.equal(tokenizer.decode(tokenizer.encode('a\uD83Db')), 'a\uFFFDb');
  });
}

test('text arrives while tokens do: only half characters, and bytes that others may follow, are held back', () => {
  const parts = (family: string, text: string): string[] => {
    const tokenizer = load(family);
    const stream = createTextStream(tokenizer);
    return [...tokenizer.encode(text).map((id) => stream.push(id).text), stream.end()];
  };
  assert.deepEqual(parts('mistral', 'the answer').slice(0, 1), ['the']);
  const held = parts('gemma2', 'a\u0E64b');
  assert.deepEqual(held, ['a', '', '', '', '\u0E64b', '']);
});

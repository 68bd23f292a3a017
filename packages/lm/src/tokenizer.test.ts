import assert from 'node:assert/strict';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseModelConfig, readModelConfig } from './config.js';
import { modelFolder, modelNames, readGolden, rejects, temporaryFolder } from './io-test-support.js';
import { createTextStream } from './tokenizer-stream.js';
import { readTokenizerFiles } from './tokenizer-files.js';
import { createTokenizer, loadTokenizer } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';

interface TokenizerGolden {
  readonly texts: readonly {
    readonly text: string;
    readonly ids: number[];
    readonly idsWithSpecialTokens: number[];
    readonly decoded: string;
  }[];
}

const goldens = readGolden('tokenizers.json') as Record<string, TokenizerGolden>;
const families = ['llama', 'qwen2', 'gemma2', 'qwen3', 'mistral'] as const;

function load(name: (typeof modelNames)[number]): Tokenizer {
  return loadTokenizer(modelFolder(name), readModelConfig(modelFolder(name)));
}

for (const name of modelNames) {
  test(`${name}: ids and decodings are those of the reference implementation`, () => {
    const tokenizer = load(name);
    for (const { text, ids, idsWithSpecialTokens, decoded } of goldens[name].texts) {
      assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
      assert.deepEqual(
        tokenizer.encode(text, { addSpecialTokens: true }),
        idsWithSpecialTokens,
        JSON.stringify(text),
      );
      assert.equal(tokenizer.decode(ids), decoded, JSON.stringify(text));
    }
  });
}

test('special ids come from the files that name them', () => {
  const summary = (name: (typeof modelNames)[number]) => {
    const { vocabSize, bosTokenId, eosTokenIds, padTokenId } = load(name);
    return { vocabSize, bosTokenId, eosTokenIds, padTokenId };
  };
  assert.deepEqual(summary('llama'), {
    vocabSize: 300,
    bosTokenId: 295,
    eosTokenIds: [296],
    padTokenId: 299,
  });
  assert.deepEqual(summary('qwen2'), {
    vocabSize: 300,
    bosTokenId: null,
    eosTokenIds: [299],
    padTokenId: 297,
  });
  assert.deepEqual(summary('gemma2'), { vocabSize: 362, bosTokenId: 2, eosTokenIds: [1, 5], padTokenId: 0 });
});

test('end tokens: generation_config.json goes before config.json, and that before the tokenizer', () => {
  const files = readTokenizerFiles(modelFolder('llama'));
  const config = readModelConfig(modelFolder('llama'));
  const endIds = (generation: object, eos_token_id: unknown) =>
    createTokenizer(
      { ...files, generationConfig: { ...generation } },
      parseModelConfig({ ...config.source, eos_token_id }),
    ).eosTokenIds;
  assert.deepEqual(endIds({ eos_token_id: [7, 8] }, 9), [7, 8]);
  assert.deepEqual(endIds({ eos_token_id: 7 }, 9), [7]);
  assert.deepEqual(endIds({}, [9, 10]), [9, 10]);
  assert.deepEqual(endIds({}, null), [296]);
});

test('special tokens are kept out of decoded text unless asked for; padding rows decode to nothing', () => {
  const tokenizer = load('llama');
  const ids = [295, ...tokenizer.encode('hi'), 296, 306];
  assert.equal(tokenizer.decode(ids), 'hi');
  assert.equal(tokenizer.decode(ids, { skipSpecialTokens: false }), '<|begin|>hi<|eot|>');
  assert.equal(tokenizer.decode([]), '');
  assert.equal(tokenizer.decode([306]), '');
  assert.deepEqual(tokenizer.encode(''), []);
});

for (const name of families) {
  const tokenizer = load(name);

  test(`${name}: a span is the tokens of prefix + continuation after what they share with the prefix`, () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 12 }),
        fc.string({ maxLength: 12 }),
        (prefix, continuation) => {
          const { ids, start, continuationTokens } = tokenizer.encodeSpan(prefix, continuation);
          assert.deepEqual(ids, tokenizer.encode(prefix + continuation));
          assert.equal(continuationTokens, ids.length - start);
          const prefixIds = tokenizer.encode(prefix);
          assert.deepEqual(ids.slice(0, start), prefixIds.slice(0, start));
          assert.ok(start === prefixIds.length || start === ids.length || ids[start] !== prefixIds[start]);
        },
      ),
      { numRuns: 200 },
    );
  });

  test(`${name}: a text stream adds up to the decoding of the whole, whatever the tokens`, () => {
    const anyTokens = fc.array(fc.nat(tokenizer.vocabSize - 1), { maxLength: 30 });
    const realText = fc.string({ unit: 'grapheme' }).map((text) => tokenizer.encode(text));
    fc.assert(
      fc.property(fc.oneof(anyTokens, realText), (ids) => {
        const stream = createTextStream(tokenizer, ['a stop string that never comes']);
        const parts = ids.map((id) => stream.push(id).text);
        assert.equal([...parts, stream.end()].join(''), tokenizer.decode(ids));
      }),
      { numRuns: 300 },
    );
  });

  test(`${name}: a stop string ends the text where it begins, however the tokens cut it`, () => {
    const words = fc.array(fc.constantFrom('the ', 'answer', ' is 1', 'Q', ':', '\n', '😀', 'Ques'), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(words, words, (before, after) => {
        const text = `${before.join('')}\nQ:${after.join('')}`;
        const stream = createTextStream(tokenizer, ['\nQ:', '']);
        let got = '';
        let stop: string | null = null;
        for (const id of tokenizer.encode(text)) {
          const step = stream.push(id);
          got += step.text;
          stop = step.stop;
          if (stop !== null) break;
        }
        assert.equal(stop, '\nQ:');
        assert.equal(got, text.slice(0, text.indexOf('\nQ:')));
      }),
      { numRuns: 200 },
    );
  });
}

/** A tokenizer whose decoder takes the leading space off a text, as those of Llama 2 and Mistral do. */
function loadStripping(): Tokenizer {
  const files = readTokenizerFiles(modelFolder('gemma2'));
  const { decoder, ...tokenizer } = files.tokenizer as { decoder: { decoders: object[] } };
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  const decoders = [...decoder.decoders, strip];
  const stripping = { ...files, tokenizer: { ...tokenizer, decoder: { ...decoder, decoders } } };
  return createTokenizer(stripping, readModelConfig(modelFolder('gemma2')));
}

for (const name of [...families, 'stripping'] as const) {
  test(`${name}: a stop string is found with the very token that completes it, whatever the tokens`, () => {
    const tokenizer = name === 'stripping' ? loadStripping() : load(name);
    const stops = ['e', ' the', 'é', '😀 e', '是', '\n'];
    const texts = fc
      .array(fc.constantFrom('the ', 'x', ' is 1', 'é', '😀', ' e', '是', '日', '\n', '  '), {
        maxLength: 10,
      })
      .map((words) => tokenizer.encode(words.join('')));
    // Bytes cut characters in two; special tokens have no text.
    const anyTokens = fc.array(fc.nat(tokenizer.vocabSize - 1), { maxLength: 12 });
    let found = 0;
    fc.assert(
      fc.property(fc.array(fc.oneof(texts, anyTokens), { maxLength: 4 }), (parts) => {
        const ids = parts.flat();
        const stream = createTextStream(tokenizer, stops);
        const stopAt = (text: string): number =>
          Math.min(...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0));
        let given = '';
        for (let count = 1; count <= ids.length; count++) {
          const { text, stop } = stream.push(ids[count - 1]);
          given += text;
          const whole = tokenizer.decode(ids.slice(0, count));
          const at = stopAt(whole);
          assert.equal(stop !== null, at < Infinity, JSON.stringify(whole));
          if (stop === null) continue;
          assert.ok(whole.startsWith(stop, at));
          assert.equal(given, whole.slice(0, at));
          found++;
          return;
        }
      }),
      { numRuns: 300 },
    );
    assert.ok(found > 50, `${found} stop strings found`);
  });
}

test('a token across the border belongs to the continuation', () => {
  const tokenizer = load('llama');
  const joined = tokenizer.encode('the answer');
  const { ids, start, continuationTokens } = tokenizer.encodeSpan('the answ', 'er');
  assert.deepEqual(ids, joined);
  assert.ok(start < joined.length && continuationTokens >= 1);
  assert.ok(tokenizer.decode(ids.slice(0, start)).length <= 'the answ'.length);
  assert.equal(tokenizer.encodeSpan('abc', '').continuationTokens, 0);
  const { start: withBos } = tokenizer.encodeSpan('', 'abc', { addSpecialTokens: true });
  assert.equal(withBos, 1);
});

test('text that may become a stop string is held back, and given out when it does not', () => {
  const tokenizer = load('llama');
  const stream = createTextStream(tokenizer, ['END', 'EN!']);
  const texts = [...'xENDx'].slice(0, 3).map((character) => stream.push(tokenizer.encode(character)[0]).text);
  assert.deepEqual(texts, ['x', '', '']);
  assert.deepEqual(stream.push(tokenizer.encode('z')[0]), { text: 'ENz', stop: null });
  assert.deepEqual(stream.push(tokenizer.encode('E')[0]), { text: '', stop: null });
  assert.equal(stream.end(), 'E');
});

test('a tokenizer that disagrees with the vocabulary is refused with both numbers', () => {
  const folder = modelFolder('llama');
  const source = readModelConfig(folder).source;
  const sized = (vocab_size: number) => () =>
    loadTokenizer(folder, parseModelConfig({ ...source, vocab_size }));
  rejects(
    'TOKENIZER_VOCABULARY_MISMATCH',
    /llama has 300 tokens, but config\.json gives the model 299 .*same model/,
    sized(299),
  );
  rejects('TOKENIZER_VOCABULARY_MISMATCH', /300 tokens, .* 128256/, sized(128256));
  assert.equal(sized(600)().vocabSize, 300);
});

test('tokenizer files that are missing, not JSON or of an unknown kind are named', (t) => {
  const folder = temporaryFolder(t);
  const config = readModelConfig(modelFolder('llama'));
  cpSync(modelFolder('llama'), folder, { recursive: true });
  rmSync(join(folder, 'tokenizer_config.json'));
  rmSync(join(folder, 'generation_config.json'));
  assert.deepEqual(loadTokenizer(folder, config).eosTokenIds, [296]);
  writeFileSync(join(folder, 'tokenizer.json'), '{}');
  rejects('TOKENIZER_INVALID', /tokenizer\.json: "model" is absent; expected an object\. Save it again/, () =>
    loadTokenizer(folder, config),
  );
  writeFileSync(join(folder, 'tokenizer.json'), 'x');
  rejects('JSON_INVALID', /tokenizer\.json is not a JSON object/, () => loadTokenizer(folder, config));
  rmSync(join(folder, 'tokenizer.json'));
  rejects('FILE_MISSING', /tokenizer\.json does not exist/, () => loadTokenizer(folder, config));
});

test('text that a vocabulary without an unknown token cannot express is named', () => {
  const files = readTokenizerFiles(modelFolder('llama'));
  const model = {
    type: 'WordPiece',
    vocab: { a: 0, '##b': 1 },
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
  };
  const tokenizer = createTokenizer(
    {
      ...files,
      tokenizer: {
        model,
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
      },
    },
    parseModelConfig({ ...readModelConfig(modelFolder('llama')).source, vocab_size: 2 }),
  );
  assert.deepEqual(tokenizer.encode('ab'), [0, 1]);
  rejects('TOKENIZER_INVALID', /no token for "[^"]*" and no unknown token/, () => tokenizer.encode('ac'));
});

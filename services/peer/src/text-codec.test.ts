import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { ContributionSchema } from '@parley/contracts';
import { createPromptTemplate, loadTokenizer, readModelConfig, readTokenizerFiles } from '@parley/lm';
import { modelFolder } from './peer-test-support.js';
import { createTextCodec } from './text-codec.js';

function codecOf(name: Parameters<typeof modelFolder>[0]) {
  const folder = modelFolder(name);
  const tokenizer = loadTokenizer(folder, readModelConfig(folder));
  const template = createPromptTemplate(readTokenizerFiles(folder).tokenizerConfig);
  return { tokenizer, codec: createTextCodec(tokenizer, template) };
}

test('an answer ends in training with what ends a turn in the chat template', () => {
  for (const [name, end] of [
    ['llama', '<|eot|>'],
    ['qwen2', '<|im_end|>'],
    ['gemma2', '<end_of_turn>'],
  ] as const) {
    const { tokenizer, codec } = codecOf(name);
    deepEqual(codec.target('four'), [...tokenizer.encode('four'), ...tokenizer.encode(end)], name);
  }
});

test('a span begins after the tokens that prefix and whole have in common', () => {
  const { tokenizer, codec } = codecOf('llama');
  const whole = tokenizer.encode('the answer is four');
  for (const cut of [0, 4, 9, 11, 14]) {
    const [prefix, continuation] = ['the answer is four'.slice(0, cut), 'the answer is four'.slice(cut)];
    const { given, scored } = codec.span([7, 8], prefix, continuation, false);
    deepEqual([...given, ...scored], [7, 8, ...whole]);
    deepEqual(given.slice(2), tokenizer.encode(prefix).slice(0, given.length - 2));
    const ended = codec.span([7, 8], prefix, continuation, true);
    deepEqual(ended, { given, scored: [...scored, codec.endToken] });
  }
});

test('earlier answers are part of the prompt', () => {
  const { tokenizer, codec } = codecOf('gemma2');
  const bee = create(ContributionSchema, { peer: 'bee', speaker: 1, text: 'five' });
  const text = tokenizer.decode(codec.prompt('two and two', [bee]));
  equal(text.includes('[1 bee] five'), true, text);
  equal(codec.prompt('two and two', []).length < codec.prompt('two and two', [bee]).length, true);
});

test('the text of an answer ends before its end token or the first stop string', () => {
  const { tokenizer, codec } = codecOf('llama');
  const tokens = tokenizer.encode('one, two, three');
  equal(codec.text(tokens, []), 'one, two, three');
  equal(codec.text([...tokens, ...codec.endTokens], []), 'one, two, three');
  equal(codec.text(tokens, ['three', ', ']), 'one');
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Template } from '@huggingface/jinja';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { createRandom } from '@parley/pst';
import { makePopulation } from './population.js';
import { pretrainingItem } from './pretraining.js';
import { CHAT_TEMPLATE, renderPrompt, renderVerification } from './prompt.js';
import { TASKS } from './registry.js';
import type { Task } from './task.js';
import { taskTokenizerFiles, taskVocabulary } from './tokenizer.js';
import { WORD_PROBLEMS } from '../word-problems/task.js';

/** The part of the library that is used here; its own declarations do not resolve under NodeNext. */
type Tokenizer = new (
  tokenizer: object,
  config: object,
) => {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
};

function load(task: Task): InstanceType<Tokenizer> {
  const { tokenizer, tokenizerConfig } = JSON.parse(JSON.stringify(taskTokenizerFiles(task))) as {
    tokenizer: object;
    tokenizerConfig: object;
  };
  return new (HuggingFaceTokenizer as unknown as Tokenizer)(tokenizer, tokenizerConfig);
}

describe('task tokenizer', () => {
  for (const task of TASKS) {
    it(`of ${task.name} loads in @huggingface/tokenizers and gives back every word of a training item`, () => {
      const random = createRandom(1n);
      const loaded = load(task);
      const vocabulary = taskVocabulary(task);
      const { coverages } = makePopulation(task, 1n);
      for (let i = 0; i < 300; i++) {
        const { prompt, completion } = pretrainingItem(task, coverages[i % 3], random);
        const text = `${prompt} ${completion}`;
        const { ids } = loaded.encode(text, { add_special_tokens: false });
        assert.deepEqual(
          ids,
          text.split(' ').map((word) => vocabulary.indexOf(word)),
        );
        assert.equal(loaded.decode(ids, { skip_special_tokens: false }), text);
      }
    });
  }

  it('leaves special tokens out of decoded text and maps unknown words to <unk>', () => {
    const loaded = load(WORD_PROBLEMS);
    const { ids } = loaded.encode('<bos> tom had zebras <p1> 3 A 3 <eos>', { add_special_tokens: false });
    assert.equal(ids[3], taskVocabulary(WORD_PROBLEMS).indexOf('<unk>'));
    assert.equal(loaded.decode(ids, { skip_special_tokens: true }), 'tom had 3 A 3');
  });

  it('has a chat template that writes what pretraining wrote', () => {
    const template = new Template(CHAT_TEMPLATE);
    const messages = [{ role: 'user', content: 'tom has 3 pens' }];
    const turns = [
      { speaker: 2, text: '3 A 3' },
      { speaker: 0, text: '4 A 4' },
    ];
    assert.equal(template.render({ messages, peer_answers: turns }), renderPrompt('tom has 3 pens', turns));
    assert.equal(template.render({ messages, peer_answers: [] }), renderPrompt('tom has 3 pens'));
    assert.equal(template.render({ messages }), renderPrompt('tom has 3 pens'));
    assert.equal(
      template.render({ messages, candidate: '3 A 3' }),
      renderVerification('tom has 3 pens', '3 A 3'),
    );
  });
});

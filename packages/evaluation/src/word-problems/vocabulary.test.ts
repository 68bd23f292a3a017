import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Template } from '@huggingface/jinja';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { createRandom } from '@parley/pst';
import { makePopulation } from './population.js';
import { pretrainingItem } from './pretraining.js';
import { CHAT_TEMPLATE, renderPrompt, renderVerification } from './prompt.js';
import { demoTokenizerFiles, demoVocabulary } from './vocabulary.js';

/** The part of the library that is used here; its own declarations do not resolve under NodeNext. */
type Tokenizer = new (
  tokenizer: object,
  config: object,
) => {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
};

const { tokenizer, tokenizerConfig } = JSON.parse(JSON.stringify(demoTokenizerFiles())) as {
  tokenizer: object;
  tokenizerConfig: object;
};
const loaded = new (HuggingFaceTokenizer as unknown as Tokenizer)(tokenizer, tokenizerConfig);
const encode = (text: string): number[] => loaded.encode(text, { add_special_tokens: false }).ids;

describe('demo tokenizer', () => {
  it('loads in @huggingface/tokenizers and gives back every word of a training item', () => {
    const random = createRandom(1n);
    const vocabulary = demoVocabulary();
    for (let i = 0; i < 300; i++) {
      const { prompt, completion } = pretrainingItem(makePopulation(1n).coverages[i % 3], random);
      const text = `${prompt} ${completion}`;
      const ids = encode(text);
      assert.deepEqual(
        ids,
        text.split(' ').map((word) => vocabulary.indexOf(word)),
      );
      assert.equal(loaded.decode(ids, { skip_special_tokens: false }), text);
    }
  });

  it('leaves special tokens out of decoded text and maps unknown words to <unk>', () => {
    const ids = encode('<bos> tom had zebras <p1> 3 A 3 <eos>');
    assert.equal(ids[3], demoVocabulary().indexOf('<unk>'));
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

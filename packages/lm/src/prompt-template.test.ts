import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modelFolder, readGolden, rejects } from './io-test-support.js';
import { createPromptTemplate } from './prompt-template.js';
import type { PeerAnswer } from './prompt-template.js';
import { readTokenizerFiles } from './tokenizer-files.js';

interface PromptGolden {
  readonly prompts: readonly {
    readonly question: string;
    readonly answers: readonly PeerAnswer[];
    readonly text: string;
  }[];
}

const goldens = readGolden('tokenizers.json') as Record<string, PromptGolden>;
const answers: readonly PeerAnswer[] = [
  { speaker: 0, peer: 'ada', text: ' It is 7.\n' },
  { speaker: 1, peer: 'bob', text: 'The answer is 8.' },
];
const folded =
  'What is 3 + 4?\n\nOther solvers answered:\n\nSolver 1: It is 7.\n\nSolver 2: The answer is 8.\n\n' +
  'They may be wrong. Weigh what they say, then give your own answer.';

for (const name of ['llama', 'qwen2', 'gemma2', 'qwen3', 'mistral'] as const) {
  test(`${name}: prompts are those of the reference implementation`, () => {
    const template = createPromptTemplate(readTokenizerFiles(modelFolder(name)).tokenizerConfig);
    assert.equal(template.isPeerAware, name === 'gemma2');
    assert.equal(template.addSpecialTokens, false);
    for (const prompt of goldens[name].prompts) {
      if (prompt.answers.length === 0 || template.isPeerAware)
        assert.equal(template.render(prompt), prompt.text);
    }
  });
}

test('a template that knows of no peers gets their answers inside the user message', () => {
  const template = createPromptTemplate({
    chat_template: '{{ messages | length }} {{ messages[0].content }}|',
  });
  assert.equal(template.render({ question: 'What is 3 + 4?', answers }), `1 ${folded}|`);
  assert.equal(template.render({ question: 'Why?', answers: [] }), '1 Why?|');
});

test('a template that refers to peer_answers gets them as data, and the bare question', () => {
  const template = createPromptTemplate({
    chat_template:
      '{{ messages[0].content }}{% for a in peer_answers %}<{{ a.speaker }},{{ a.peer }},{{ a.text }}>{% endfor %}',
  });
  assert.equal(template.isPeerAware, true);
  assert.equal(template.render({ question: 'Q', answers }), 'Q<0,ada, It is 7.\n><1,bob,The answer is 8.>');
  assert.equal(template.render({ question: 'Q', answers: [] }), 'Q');
});

test('without a chat template the prompt is plain', () => {
  const template = createPromptTemplate({});
  assert.equal(template.addSpecialTokens, true);
  assert.equal(template.render({ question: 'Why?', answers: [] }), 'Question: Why?\nAnswer:');
  assert.equal(template.render({ question: 'What is 3 + 4?', answers }), `Question: ${folded}\nAnswer:`);
});

test('of several named templates the default one is used', () => {
  const chat_template = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: 'mine {{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}' },
  ];
  const template = createPromptTemplate({ chat_template, bos_token: '<s>', eos_token: { content: '</s>' } });
  assert.equal(template.render({ question: '', answers: [] }), 'mine <s></s>true');
});

test('a template that prints the date prints the same one every day', () => {
  const chat_template = '{{ strftime_now("%d %b %Y") }} {{ date_string }}';
  const rendered = (dateString?: string) =>
    createPromptTemplate({ chat_template }, dateString === undefined ? {} : { dateString }).render({
      question: '',
      answers: [],
    });
  assert.equal(rendered(), '26 Jul 2024 26 Jul 2024');
  assert.equal(rendered('1 Jan 2030'), '1 Jan 2030 1 Jan 2030');
});

test('whitespace with which a template begins is kept', () => {
  const template = createPromptTemplate({ chat_template: '\n x' });
  assert.equal(template.render({ question: '', answers: [] }), '\n x');
});

test('braces in questions and answers are text, not template', () => {
  const template = createPromptTemplate({ chat_template: '{{ messages[0].content }}' });
  assert.equal(template.render({ question: '{{ 1 + 1 }} {% x %}', answers: [] }), '{{ 1 + 1 }} {% x %}');
});

test('a template that does not parse, or refuses its input, is named with the remedy', () => {
  rejects(
    'CHAT_TEMPLATE_INVALID',
    /chat template of peers\/ada failed: .*Correct "chat_template", or remove it/,
    () => createPromptTemplate({ chat_template: '{% if %}' }, { label: 'peers/ada' }),
  );
  const template = createPromptTemplate({ chat_template: "{{ raise_exception('no users here') }}" });
  rejects('CHAT_TEMPLATE_INVALID', /failed: no users here/, () =>
    template.render({ question: '', answers: [] }),
  );
});

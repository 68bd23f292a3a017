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

test('a template that prints a candidate gets one where there is one to judge', () => {
  const template = createPromptTemplate({
    chat_template:
      '{{ messages[0].content }}{% if candidate is defined %} <v> {{ candidate }} ?{% else %} <r>{% endif %}',
  });
  assert.equal(template.judgesCandidates, true);
  assert.equal(template.render({ question: 'Q', answers: [], candidate: '{{ 4 }}' }), 'Q <v> {{ 4 }} ?');
  assert.equal(template.render({ question: 'Q', answers: [], candidate: '' }), 'Q <v>  ?');
  assert.equal(template.render({ question: 'Q', answers: [] }), 'Q <r>');
  for (const chat_template of [
    '{{ messages[0].content }} Every candidate counts.',
    '{# {{ #}{{ x }} candidate',
  ])
    assert.equal(createPromptTemplate({ chat_template }).judgesCandidates, false);
  assert.equal(createPromptTemplate({}).judgesCandidates, false);
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
    /chat template of peers\/ada failed: .*Correct .*"chat_template".* or remove both/,
    () => createPromptTemplate({ chat_template: '{% if %}' }, { label: 'peers/ada' }),
  );
  const template = createPromptTemplate({ chat_template: "{{ raise_exception('no users here') }}" });
  rejects('CHAT_TEMPLATE_INVALID', /failed: no users here/, () =>
    template.render({ question: '', answers: [] }),
  );
});

test('a template that would take for ever, or all memory, is stopped', () => {
  const stops = (chat_template: string, problem: RegExp): void => {
    const template = createPromptTemplate({ chat_template });
    rejects('CHAT_TEMPLATE_INVALID', problem, () => template.render({ question: 'Why?', answers: [] }));
  };
  stops('{% for i in range(10 ** 9) %}{{ i }}{% endfor %}', /range\(\) makes 1000000000 items/);
  stops('{% for i in range(0, 1, 0) %}{% endfor %}', /range\(\) makes Infinity items/);
  const loops = ['i', 'j', 'k'].map((name) => `{% for ${name} in range(9000) %}`).join('');
  stops(`${loops}{% endfor %}{% endfor %}{% endfor %}`, /takes more than \d+ (steps|ms)/);
  const doubled = (first: string, sum: string): string =>
    `{% set ns = namespace(x=${first}) %}{% for i in range(60) %}{% set ns.x = ${sum} %}{% endfor %}`;
  stops(doubled("'ab'", 'ns.x ~ ns.x'), /makes a text of \d+ characters/);
  stops(doubled('[1, 2]', 'ns.x + ns.x'), /makes a list of \d+ items/);
  stops('{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}', /call stack|not a function/);
  stops(`${doubled('[1]', '[ns.x, ns.x]')}{{ ns.x | tojson }}`, /takes more than \d+ ms/);
});

test('loops, lists and functions of real templates are not held up', () => {
  const chat_template =
    "{% set ns = namespace(list=[]) %}{% for i in range(2, 10, 3) %}{% set ns.list = ns.list + [i] %}{% endfor %}{{ ns.list | join(',') }} {{ range(3) | length }}{{ range(5, 0, -2) | join }}{% if none is none and True %}!{% endif %}";
  const template = createPromptTemplate({ chat_template });
  assert.equal(template.render({ question: 'Why?', answers: [] }), '2,5,8 3531!');
  const long = createPromptTemplate({
    chat_template: '{% for m in messages %}{{ m.content | trim }}{% endfor %}',
  });
  const question = 'long '.repeat(100_000);
  assert.equal(long.render({ question, answers: [] }), question.trim());
});

import type { Draw } from './draw.js';
import { mutateText } from './mutate-json.js';
import type { Mutation } from './mutate-json.js';

/** What makes a Jinja interpreter work for ever, fill memory, recurse, or meet values of a kind it does not expect. */
const fragments: readonly string[] = [
  '{% for i in range(10 ** 9) %}{{ i }}{% endfor %}',
  '{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}',
  '{% set ns = namespace(x="ab") %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}',
  '{% set ns = namespace(x=[1, 2]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}',
  '{% set ns = namespace() %}{% set ns.x = ns %}{{ ns | tojson }}',
  '{% macro m(a) %}{{ m(m) }}{% endmacro %}{{ m(1) }}',
  '{{ "x" | indent(10 ** 9, true) }}',
  '{{ range(9999) | join("x" | indent(9999, true)) | length }}',
  '{{ messages | map(attribute="content") | join("a") | replace("", messages[0].content) }}',
  `{{ ${'('.repeat(5000)}1${')'.repeat(5000)} }}`,
  `{{ ${'['.repeat(5000)} }}`,
  `{{ ${'not '.repeat(5000)}1 }}`,
  `${'{% if true %}'.repeat(3000)}${'{% endif %}'.repeat(3000)}`,
  `{{ "${'x'.repeat(100_000)}" }}`,
  '{{ messages[0][0] }}',
  '{{ messages[10 ** 20].content.x.y }}',
  '{{ none + 1 }}',
  '{{ 1 // 0 }}{{ 1 % 0 }}{{ range(0, 1, 0) }}',
  '{{ raise_exception(messages) }}',
  '{{ strftime_now() }}{{ namespace(1) }}{{ range("a", {}) }}',
  '{{ messages | sort(attribute="nope") | unique | first | items }}',
  '{{ {"a": 1, "__proto__": 2} | tojson(indent=4) }}',
  '{{ messages[::-1][:-1:0] }}',
  '{% break %}{% continue %}',
  '{% call m() %}{% endcall %}{% filter upper %}',
  '{{',
  '{%',
  '{#',
  '#}',
];

/** Damages a chat template: a fragment put in at a place between tags, or its text. */
export function mutateTemplate(draw: Draw, source: Uint8Array): Mutation {
  if (draw.chance(0.5)) return mutateText(draw, source);
  const text = Buffer.from(source).toString();
  const places = [0, ...[...text.matchAll(/[%}]\}/g)].map(({ index }) => index + 2)];
  const at = draw.pick(places);
  const fragment = draw.pick(fragments);
  return {
    bytes: Buffer.from(text.slice(0, at) + fragment + text.slice(at)),
    description: `at ${at}: ${fragment.slice(0, 100)}`,
    path: null,
  };
}

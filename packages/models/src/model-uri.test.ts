import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatModelUri, parseModelUri } from './model-uri.js';

const MEANINGS: [text: string, meaning: ReturnType<typeof parseModelUri>][] = [
  ['./llama', { kind: 'folder', folder: './llama' }],
  ['/models/a b', { kind: 'folder', folder: '/models/a b' }],
  ['file:///models/a%20b', { kind: 'folder', folder: '/models/a b' }],
  ['hf://Qwen/Qwen2.5-0.5B', { kind: 'hub', repo: 'Qwen/Qwen2.5-0.5B', revision: 'main' }],
  ['hf://gpt2@refs/pr/3', { kind: 'hub', repo: 'gpt2', revision: 'refs/pr/3' }],
  ['s3://models', { kind: 's3', bucket: 'models', prefix: '' }],
  ['s3://models/a/b//', { kind: 's3', bucket: 'models', prefix: 'a/b/' }],
  ['https://host/m', { kind: 'web', url: 'https://host/m/' }],
];

for (const [text, meaning] of MEANINGS) {
  test(`${text} is where a model may lie`, () => {
    deepEqual(parseModelUri(text), meaning);
    deepEqual(parseModelUri(formatModelUri(meaning)), meaning);
  });
}

const MISTAKES: [text: string, message: RegExp][] = [
  ['', /is empty/],
  ['file://models/a', /"file:\/\/models\/a" is not file:\/\/\/folder/],
  ['gs://bucket/a', /is none of folder, file:/],
  ['hf://', /"" is not the name of a model on a hub, such as/],
  ['hf://a/b/c', /"a\/b\/c" is not the name/],
  ['hf://../../etc', /is not the name/],
  ['hf://a--b/c', /is not the name/],
  ['hf://a/b@', /"" is not a branch, a tag or a commit/],
  ['hf://a/b@../../x', /"\.\.\/\.\.\/x" is not a branch/],
  ['hf://a/b@x//y', /is not a branch/],
  ['s3://UPPER/a', /"UPPER" is no name of a bucket/],
  ['https://', /is not a URL/],
];

for (const [text, message] of MISTAKES) {
  test(`"${text}" is refused`, () => throws(() => parseModelUri(text), { message }));
}

test('no text makes a repository or a revision that leaves its folder of the cache', () => {
  const part = fc.stringMatching(/^[A-Za-z0-9./@_-]{0,12}$/);
  fc.assert(
    fc.property(part, part, (name, revision) => {
      let found;
      try {
        found = parseModelUri(`hf://${name}@${revision}`);
      } catch (error) {
        equal((error as Error).constructor, Error);
        return;
      }
      equal(found.kind, 'hub');
      const steps = `${found.kind === 'hub' ? `${found.repo}/${found.revision}` : ''}`.split('/');
      equal(
        steps.some((step) => step === '' || step === '.' || step.includes('..')),
        false,
      );
    }),
  );
});

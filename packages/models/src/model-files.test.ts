import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { missingFile, requireComplete, selectModelFiles } from './model-files.js';

const TEXTS = ['config.json', 'tokenizer.json'];
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const INDEX = 'model.safetensors.index.json';

test('of a repository as authors leave it, a peer takes what it needs and nothing that could run', () => {
  const needed = [
    ...TEXTS,
    'chat_template.jinja',
    'generation_config.json',
    'special_tokens_map.json',
    'tokenizer.model',
    'tokenizer_config.json',
  ];
  const others = [
    'README.md',
    'modeling_x.py',
    'pytorch_model.bin',
    'original/model.safetensors',
    'a.gguf',
    'vocab.json',
  ];
  deepEqual(
    selectModelFiles([...others, ...needed, 'model.safetensors']),
    [...needed, 'model.safetensors'].sort(),
  );
});

test('weights are taken once, whatever other forms of them lie beside', () => {
  const forms = ['consolidated.safetensors', 'adapter_model.safetensors', INDEX, ...SHARDS];
  deepEqual(selectModelFiles(forms), [INDEX, ...SHARDS].sort());
  deepEqual(selectModelFiles([...forms, 'model.safetensors']), ['model.safetensors']);
  deepEqual(selectModelFiles([INDEX, 'part-a.safetensors']), [INDEX, 'part-a.safetensors']);
});

test('what a folder lacks is named, and what it has in its place', () => {
  equal(missingFile([...TEXTS, 'model.safetensors']), undefined);
  equal(missingFile([...TEXTS, INDEX, ...SHARDS]), undefined);
  equal(missingFile([...TEXTS, INDEX, SHARDS[0] ?? '']), SHARDS[1]);
  equal(missingFile([...TEXTS, ...SHARDS]), INDEX);
  equal(missingFile([...TEXTS, INDEX]), 'model.safetensors');
  throws(() => requireComplete(['config.json', 'model.safetensors'], 'hf://a/b'), {
    reason: 'CHECKPOINT_INVALID',
    message: /^hf:\/\/a\/b has no tokenizer\.json\. A model is a Hugging Face folder/,
  });
  throws(() => requireComplete([...TEXTS, 'pytorch_model.bin'], 'hf://a/b'), {
    message:
      /no model\.safetensors\. It has pytorch_model\.bin, which is not read: save .* safe_serialization=True/,
  });
});

import { equal, notEqual, rejects } from 'node:assert/strict';
import { appendFile, cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isParleyError } from '@parley/runtime';
import { checkpointDigest } from './checkpoint-digest.js';
import { modelFolder, temporaryFolder } from './testing/test-folders.js';

test('a checkpoint keeps its digest wherever it lies, and changes it with its content alone', async (t) => {
  const folder = join(await temporaryFolder(t), 'copy');
  await cp(modelFolder('llama'), folder, { recursive: true });
  const digest = await checkpointDigest(modelFolder('llama'));
  equal(await checkpointDigest(folder), digest);
  await writeFile(join(folder, 'README.md'), 'says nothing to the model');
  await writeFile(join(folder, 'consolidated.safetensors'), 'the weights for another program');
  equal(await checkpointDigest(folder), digest);
  await appendFile(join(folder, 'tokenizer_config.json'), ' ');
  notEqual(await checkpointDigest(folder), digest);
});

test('a folder that is not there is named', async () => {
  await rejects(
    checkpointDigest('/nowhere/at/all'),
    (error) =>
      isParleyError(error, 'CHECKPOINT_INVALID') && /\/nowhere\/at\/all.*PARLEY_MODEL/.test(error.message),
  );
});

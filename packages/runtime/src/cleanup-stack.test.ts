import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCleanupStack } from './index.js';

test('everything is released once, last first, and the first failure is thrown at the end', async () => {
  const stack = createCleanupStack();
  const released: string[] = [];
  stack.defer(() => void released.push('first'));
  stack.use({ [Symbol.dispose]: () => void released.push('second') });
  stack.defer(() => Promise.reject(new Error('third would not go')));
  stack.defer(() => Promise.reject(new Error('fourth would not go')));
  stack.use({ [Symbol.asyncDispose]: async () => void released.push('fifth') });
  await Promise.all([
    assert.rejects(stack.close(), /fourth would not go/),
    assert.rejects(stack.close(), /fourth would not go/),
  ]);
  assert.deepEqual(released, ['fifth', 'second', 'first']);
  assert.throws(() => stack.defer(() => undefined), /closed already/);
});

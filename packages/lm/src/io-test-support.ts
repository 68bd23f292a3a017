import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LmError } from './lm-error.js';
import type { LmErrorReason } from './lm-error.js';

/** The reference fixtures of this package; see their README. */
export const fixturesFolder = fileURLToPath(new URL('../fixtures/', import.meta.url));

/** The Hugging Face folders among the fixtures. */
export const modelNames = [
  'llama',
  'llama-sharded',
  'qwen2',
  'qwen2-bf16',
  'gemma2',
  'gemma2-fp16',
  'qwen3',
  'mistral',
] as const;

/** The folder of a fixture model. */
export function modelFolder(name: (typeof modelNames)[number]): string {
  return join(fixturesFolder, 'models', name);
}

/** A JSON file among the goldens. */
export function readGolden(name: string): unknown {
  return JSON.parse(readFileSync(join(fixturesFolder, 'golden', name), 'utf8'));
}

/** A folder that is gone after the test. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'parley-lm-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Asserts that `action` throws an {@link LmError} of this reason whose message matches. */
export function rejects(reason: LmErrorReason, pattern: RegExp, action: () => unknown): void {
  assert.throws(action, (error) => {
    assert.ok(error instanceof LmError, String(error));
    assert.equal(error.reason, reason);
    assert.match(error.message, pattern);
    return true;
  });
}

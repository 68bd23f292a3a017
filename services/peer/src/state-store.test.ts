import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { readFile, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { create, equals } from '@bufbuild/protobuf';
import { VersionCommittedSchema } from '@parley/contracts';
import { encodeSafetensors, readCommittedState } from '@parley/lm';
import type { ModelState } from '@parley/lm';
import { isParleyError, sha256 } from '@parley/runtime';
import type { Reason } from '@parley/runtime';
import type { Head } from './head-file.js';
import { temporaryFolder } from './peer-test-support.js';
import { openStateStore } from './state-store.js';
import type { StateStoreOptions } from './state-store.js';

const IDENTITY = { peer: 'ant', baseSha256: 'b'.repeat(64), method: 'full' };

/** A state whose bytes tell `value`. */
function stateOf(value: number): ModelState {
  const tensor = (x: number) => new Map([['w', { shape: [3], data: Float32Array.of(x, x, x) }]]);
  return {
    weights: encodeSafetensors(tensor(value)),
    optimizer: encodeSafetensors(tensor(-value), { step: String(value) }),
  };
}

function open(folder: string, overrides: Partial<StateStoreOptions> = {}) {
  return openStateStore({
    folder,
    identity: IDENTITY,
    keepVersions: 3,
    initialState: async () => stateOf(0),
    ...overrides,
  });
}

function next(head: Head, state: ModelState): Head {
  const version = head.version + 1;
  return {
    ...head,
    version,
    weightsSha256: sha256(state.weights),
    ledger: head.ledger.withUpdate(`run/${version}/ant`, version),
    lastCommitted: create(VersionCommittedSchema, {
      peer: 'ant',
      version: BigInt(version),
      updatesApplied: BigInt(version),
    }),
  };
}

async function refusal(work: Promise<unknown>, reason: Reason): Promise<string> {
  let message = '';
  await rejects(work, (error) => {
    ok(isParleyError(error, reason), String(error));
    message = error.message;
    return true;
  });
  return message;
}

test('what is committed comes back bit by bit after the folder is opened again', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await open(folder);
  equal(store.head.version, 0);
  const committed = next(store.head, stateOf(1));
  await store.commit(committed, stateOf(1));

  const again = await open(folder, { initialState: () => Promise.reject(new Error('must not be asked')) });
  const { ledger, lastCommitted, ...plain } = again.head;
  const { ledger: wantedLedger, lastCommitted: wantedLast, ...wanted } = committed;
  deepEqual(plain, wanted);
  deepEqual(ledger.toRecord(), wantedLedger.toRecord());
  ok(lastCommitted && wantedLast && equals(VersionCommittedSchema, lastCommitted, wantedLast));
  const state = await again.reload();
  deepEqual(Buffer.from(state.weights), Buffer.from(stateOf(1).weights));
  deepEqual(Buffer.from(state.optimizer), Buffer.from(stateOf(1).optimizer));
  deepEqual(await readdir(folder), ['head.safetensors', 'versions']);
});

test('version 0 and the latest versions are kept, the others removed', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await open(folder);
  for (let value = 1; value <= 5; value++)
    await store.commit(next(store.head, stateOf(value)), stateOf(value));
  deepEqual(
    (await readdir(join(folder, 'versions'))).toSorted(),
    ['0', '3', '4', '5'].map((n) => `${n}.safetensors`),
  );
  equal(sha256((await store.readVersion(4)) ?? ''), sha256(stateOf(4).weights));
  equal(await store.readVersion(2), undefined);
  await rm(join(folder, 'versions'), { recursive: true });
  equal(
    sha256((await store.readVersion(5)) ?? ''),
    sha256(stateOf(5).weights),
    'the current one is in the head too',
  );
});

test('what a killed process left behind is cleared away', async (t) => {
  const folder = await temporaryFolder(t);
  await open(folder);
  await writeFile(join(folder, '.1234.tmp'), 'half a head');
  await writeFile(join(folder, 'versions', '1.safetensors'), 'a version whose head was never put in place');
  const store = await open(folder);
  equal(store.head.version, 0);
  deepEqual(await readdir(folder), ['head.safetensors', 'versions']);
  deepEqual(await readdir(join(folder, 'versions')), ['0.safetensors']);
});

test('a failed commit leaves the earlier state', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await open(folder);
  const before = store.head;
  await rename(join(folder, 'versions'), join(folder, 'aside'));
  await writeFile(join(folder, 'versions'), 'in the way');
  await rejects(store.commit(next(before, stateOf(1)), stateOf(1)));
  equal(store.head, before);
  await rm(join(folder, 'versions'));
  const state = await store.reload();
  equal(sha256(state.weights), sha256(stateOf(0).weights));
});

test('a head that is truncated, altered or not one at all is refused by its path, with the remedy', async (t) => {
  const folder = await temporaryFolder(t);
  await open(folder);
  const path = join(folder, 'head.safetensors');
  const content = await readFile(path);

  await truncate(path, content.length - 1);
  const truncated = await refusal(open(folder), 'STATE_CORRUPT');
  ok(
    truncated.includes(path) && /truncated/.test(truncated) && /Put a copy of the file there/.test(truncated),
    truncated,
  );

  const altered = Buffer.from(content);
  altered[altered.length - 1] ^= 1;
  await writeFile(path, altered);
  ok(/its (weights|optimizer) have SHA-256/.test(await refusal(open(folder), 'STATE_CORRUPT')));

  await writeFile(path, stateOf(1).weights);
  ok(/metadata has no "format"/.test(await refusal(open(folder), 'STATE_CORRUPT')));
});

test('a head that is gone while later versions are there is not begun anew', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await open(folder);
  await store.commit(next(store.head, stateOf(1)), stateOf(1));
  await rm(join(folder, 'head.safetensors'));
  const message = await refusal(open(folder), 'STATE_CORRUPT');
  ok(/head\.safetensors is missing, but .* holds version 1\. Put the file back/.test(message), message);
});

test('a head of another peer, checkpoint or training method is refused by what differs', async (t) => {
  const folder = await temporaryFolder(t);
  await open(folder);
  const wrong = { peer: 'bee', baseSha256: 'c'.repeat(64), method: 'lora rank 8 alpha 16' };
  const message = await refusal(open(folder, { identity: wrong }), 'CONFIG_INVALID');
  for (const part of [
    'peer ant, but PARLEY_PEER_NAME gives bee',
    'bbb, but PARLEY_MODEL gives ccc',
    'method full, but PARLEY_TRAIN gives lora rank 8',
    'PARLEY_STATE_DIR',
  ]) {
    ok(message.includes(part), `${part} in: ${message}`);
  }
  await open(folder);
});

test('a second process on the folder is found out before it overwrites anything', async (t) => {
  const folder = await temporaryFolder(t);
  const [one, two] = [await open(folder), await open(folder)];
  const committed = next(one.head, stateOf(1));
  await one.commit(committed, stateOf(1));
  const message = await refusal(two.commit(next(two.head, stateOf(2)), stateOf(2)), 'STATE_CORRUPT');
  ok(
    /is at version 1, but this process left it at version 0: another process writes there/.test(message),
    message,
  );
  equal(sha256((await one.reload()).weights), committed.weightsSha256);
});

test('others read the committed state, and any version that is kept', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await open(folder, { identity: { ...IDENTITY, method: 'lora rank 2 alpha 4' } });
  await store.commit(next(store.head, stateOf(1)), stateOf(1));
  const { weights, ...state } = readCommittedState(folder);
  deepEqual(state, {
    peer: 'ant',
    version: 1,
    baseSha256: IDENTITY.baseSha256,
    trainable: { kind: 'lora', rank: 2, alpha: 4, seed: 0 },
  });
  deepEqual(weights, stateOf(1).weights);
  const first = readCommittedState(folder, 0);
  deepEqual([first.version, first.weights], [0, stateOf(0).weights]);
});

import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { FinishReason } from '@parley/contracts';
import type { GenerateRequestSchema, GenerateResponse, ScoreItemSchema } from '@parley/contracts';
import { isParleyError, sha256 } from '@parley/runtime';
import type { Code, Reason } from '@parley/runtime';
import { startMesh, startTestPeer, temporaryFolder, updateOf } from './peer-test-support.js';
import type { Literal, TestPeer } from './peer-test-support.js';

const GREEDY = { temperature: 0, topP: 1, maxTokens: 12, stop: [] };

function question(itemId: string, text = `what is ${itemId}?`) {
  return { itemId, question: text, context: [], seed: 7n };
}

async function answers(
  { client }: TestPeer,
  request: Literal<typeof GenerateRequestSchema>,
): Promise<GenerateResponse[]> {
  const responses = [];
  for await (const response of client.generate({ requestId: 'r', sampling: GREEDY, ...request }))
    responses.push(response);
  return responses;
}

function textOf({ outcome }: GenerateResponse): string {
  ok(outcome.case === 'completion', outcome.case);
  return outcome.value.text;
}

async function likelihood({ client }: TestPeer, item: Literal<typeof ScoreItemSchema>, reference = false) {
  const { results } = await client.score({ items: [{ itemId: 'i', question: 'what?', ...item }], reference });
  const outcome = results[0]?.outcome;
  ok(outcome?.case === 'likelihood', JSON.stringify(outcome?.value));
  return outcome.value;
}

async function refusal(work: Promise<unknown>, code: Code, reason: Reason): Promise<string> {
  let message = '';
  await rejects(work, (error) => {
    ok(isParleyError(error, reason) && error.code === code, String(error));
    message = error.message;
    return true;
  });
  return message;
}

test('a peer answers, scores and describes itself', async (t) => {
  const mesh = await startMesh(t);
  const peer = await startTestPeer(mesh, await temporaryFolder(t));

  await t.test('description', async () => {
    const {
      utilization,
      weightsSha256,
      baseSha256,
      $typeName: _,
      ...described
    } = await peer.client.describe({});
    const { time, residentBytes, memoryLimitBytes, ...rest } = described;
    ok(time && Math.abs(timestampMs(time) - Date.now()) < 60_000);
    ok(residentBytes > 10_000_000n && residentBytes < memoryLimitBytes);
    deepEqual(rest, {
      name: 'ant',
      architecture: 'LlamaForCausalLM',
      parameters: 34936n,
      trainableParameters: 34936n,
      trainingMethod: 'full',
      contextTokens: 96,
      vocabularySize: 307,
      device: 'cpu',
      version: 0n,
      updatesApplied: 0n,
      activity: 'idle',
      judgesCandidates: false,
    });
    ok(utilization >= 0 && utilization <= 1);
    ok([weightsSha256, baseSha256].every((digest) => /^[0-9a-f]{64}$/.test(digest)));
  });

  await t.test('one message an item; those that cannot be answered fail alone, by their reason', async () => {
    const long = question('long', 'word '.repeat(100));
    const blank = question('blank', ' ');
    const responses = await answers(peer, { items: [question('a'), long, question('b'), blank] });
    deepEqual(responses.map(({ itemId }) => itemId).toSorted(), ['a', 'b', 'blank', 'long']);
    ok(responses.every(({ version }) => version === 0n));
    const failures = responses.filter(({ outcome }) => outcome.case === 'failure');
    deepEqual(
      failures.map(({ itemId, outcome }) => [itemId, outcome.case === 'failure' && outcome.value.reason]),
      [
        ['long', 'PROMPT_TOO_LONG'],
        ['blank', 'REQUEST_INVALID'],
      ],
    );
    const [tooLong] = failures;
    ok(tooLong?.outcome.case === 'failure');
    ok(
      /Item long needs \d+ tokens .* context has 96; shorten it/.test(tooLong.outcome.value.message),
      tooLong.outcome.value.message,
    );
  });

  await t.test('a completion counts its tokens and its probability', async () => {
    const [response] = await answers(peer, { items: [question('a')] });
    ok(response?.outcome.case === 'completion');
    const { completionTokens, promptTokens, logProb, meanEntropy, finishReason } = response.outcome.value;
    equal(finishReason, FinishReason.LENGTH);
    equal(completionTokens, 12);
    ok(promptTokens > 12 && promptTokens < 60);
    ok(logProb < 0 && Number.isFinite(logProb) && meanEntropy > 0);
  });

  await t.test('settings of sampling reach the engine, and tokens are reported with their text', async () => {
    const ask = async (sampling: object) => {
      const [response] = await answers(peer, {
        items: [question('a')],
        sampling: { ...GREEDY, ...sampling },
      });
      ok(response?.outcome.case === 'completion');
      return response.outcome.value;
    };
    const greedy = await ask({ topLogProbs: 0 });
    equal(greedy.tokens.length, 12);
    equal(greedy.tokens.map(({ chosen }) => chosen!.text).join(''), greedy.text);
    ok(greedy.tokens.every(({ likeliest }) => likeliest.length === 0));
    equal((await ask({})).tokens.length, 0);
    const ids = ({ tokens }: typeof greedy) => tokens.map(({ chosen }) => chosen!.token);
    // One candidate leaves no choice: top-k of 1, or nothing as likely as the likeliest.
    for (const filter of [{ topK: 1 }, { minP: 1 }])
      deepEqual(ids(await ask({ ...filter, temperature: 1, topLogProbs: 2 })), ids(greedy));
    const penalised = await ask({ repetitionPenalty: 100, topLogProbs: 2 });
    ok(new Set(ids(penalised)).size > new Set(ids(greedy)).size, 'what was said is not repeated');
    for (const { likeliest } of penalised.tokens) ok(likeliest[0].logProb >= likeliest[1].logProb);
  });

  await t.test('an item is answered alike whatever it is batched with, and by its own seed', async () => {
    const sampling = { ...GREEDY, temperature: 1 };
    const alone = textOf((await answers(peer, { items: [question('a')], sampling }))[0]);
    const items = [question('b'), question('c'), question('a')];
    const together = (await answers(peer, { items, sampling })).find(({ itemId }) => itemId === 'a');
    equal(textOf(together!), alone);
    const other = await answers(peer, { items: [{ ...question('a'), seed: 2n ** 63n + 5n }], sampling });
    notEqual(textOf(other[0]), alone);
  });

  await t.test('answers come in order of completion, cut before a stop string', async () => {
    const items = ['one', 'two'].map((id) => question(id));
    const sampling = { ...GREEDY, maxTokens: 40 };
    const texts = new Map(
      (await answers(peer, { items, sampling })).map((response) => [response.itemId, textOf(response)]),
    );
    const [one, two] = [texts.get('one')!, texts.get('two')!];
    const stop = [...two].slice(0, 10).find((letter) => !one.includes(letter));
    ok(stop !== undefined, `the answers ${JSON.stringify([one, two])} share too many letters to tell`);
    const stopped = await answers(peer, { items, sampling: { ...sampling, stop: [stop] } });
    deepEqual(
      stopped.map(({ itemId }) => itemId),
      ['two', 'one'],
    );
    equal(textOf(stopped[0]), two.slice(0, two.indexOf(stop)));
    equal(textOf(stopped[1]), one);
  });

  await t.test('the probability of a text is the product of those of its parts', async () => {
    const whole = await likelihood(peer, { continuation: 'the answer is four' });
    const first = await likelihood(peer, { continuation: 'the answer' });
    const rest = await likelihood(peer, { prefix: 'the answer', continuation: ' is four' });
    equal(whole.tokens, first.tokens + rest.tokens);
    ok(Math.abs(whole.logProb - first.logProb - rest.logProb) < 1e-4);
    const ended = await likelihood(peer, { continuation: 'the answer is four', includeEnd: true });
    const end = await likelihood(peer, { prefix: 'the answer is four', continuation: '', includeEnd: true });
    equal(end.tokens, 1);
    ok(Math.abs(ended.logProb - whole.logProb - end.logProb) < 1e-4);
  });

  await t.test('a greedy answer scores what generating it gave', async () => {
    for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) {
      const [response] = await answers(peer, {
        items: [question(id)],
        sampling: { ...GREEDY, maxTokens: 2 },
      });
      ok(response?.outcome.case === 'completion');
      const { text, logProb, completionTokens } = response.outcome.value;
      if (text === '') continue;
      const score = await likelihood(peer, { question: `what is ${id}?`, continuation: text });
      if (score.tokens !== completionTokens) continue; // Random answers need not be what the tokenizer would write.
      ok(Math.abs(score.logProb - logProb) < 1e-4);
      return;
    }
    ok(false, 'no answer survived decoding and encoding');
  });

  await t.test('scores come in the order of the items, failures in their place', async () => {
    const item = (itemId: string, continuation: string, text = 'what?') => ({
      itemId,
      question: text,
      continuation,
    });
    const judged = { ...item('judged', 'yes'), candidate: 'four' };
    const items = [
      item('a', 'four'),
      item('long', 'word '.repeat(100)),
      item('none', ''),
      judged,
      item('b', 'five'),
    ];
    const { results, version } = await peer.client.score({ items });
    equal(version, 0n);
    deepEqual(
      results.map(({ itemId, outcome }) => [
        itemId,
        outcome.case === 'failure' ? outcome.value.reason : outcome.case,
      ]),
      [
        ['a', 'likelihood'],
        ['long', 'PROMPT_TOO_LONG'],
        ['none', 'REQUEST_INVALID'],
        ['judged', 'REQUEST_INVALID'],
        ['b', 'likelihood'],
      ],
    );
    const alone = await likelihood(peer, { continuation: 'five' });
    const inBatch = results[4]?.outcome;
    ok(inBatch?.case === 'likelihood' && inBatch.value.logProb === alone.logProb);
  });

  await t.test('malformed requests are refused with every problem', async () => {
    const twice = answers(peer, {
      items: [question('a'), question('a')],
      sampling: { ...GREEDY, maxTokens: 0, temperature: NaN },
    });
    const message = await refusal(twice, 'INVALID_ARGUMENT', 'REQUEST_INVALID');
    for (const part of ['item_id "a" is used twice', 'max_tokens is 0', 'temperature is NaN'])
      ok(message.includes(part), message);
    ok(
      /give at least one/.test(
        await refusal(peer.client.score({ items: [] }), 'INVALID_ARGUMENT', 'REQUEST_INVALID'),
      ),
    );
    const contradictory = answers(peer, {
      items: [question('a')],
      sampling: { ...GREEDY, topK: 5, minP: 0.1, repetitionPenalty: 1000, topLogProbs: 21 },
    });
    const problems = await refusal(contradictory, 'INVALID_ARGUMENT', 'REQUEST_INVALID');
    for (const part of [
      'sampling.temperature 0 always takes the likeliest token, so sampling.top_k 5 and sampling.min_p 0.1',
      'sampling.repetition_penalty is 1000, give a number in [0.01, 100]',
      'sampling.top_log_probs is 21, give an integer in [0, 20]',
    ])
      ok(problems.includes(part), problems);
    await refusal(peer.client.applyUpdate({}), 'INVALID_ARGUMENT', 'REQUEST_INVALID');
    await refusal(peer.client.restore({ requestId: 'x' }), 'INVALID_ARGUMENT', 'REQUEST_INVALID');
    await refusal(peer.client.snapshot({}), 'INVALID_ARGUMENT', 'REQUEST_INVALID');
  });

  await t.test('a request that needs another version is refused with both', async () => {
    const wanted = /serves version 0, but the request needs version 3/;
    ok(
      wanted.test(
        await refusal(
          answers(peer, { items: [question('a')], version: 3n }),
          'FAILED_PRECONDITION',
          'VERSION_MISMATCH',
        ),
      ),
    );
    const scored = peer.client.score({
      items: [{ itemId: 'a', question: 'q', continuation: 'c' }],
      version: 3n,
    });
    ok(wanted.test(await refusal(scored, 'FAILED_PRECONDITION', 'VERSION_MISMATCH')));
  });
});

test('a model whose prompt layout has a place for a response judges it there', async (t) => {
  const mesh = await startMesh(t);
  const model = fileURLToPath(new URL('../../../deploy/demo/llama', import.meta.url));
  const peer = await startTestPeer(mesh, await temporaryFolder(t), { PARLEY_MODEL: model });
  equal((await peer.client.describe({})).judgesCandidates, true);
  const question = 'tom has 3 bags with 4 pens each . tom eats 5 . how many left';
  const candidate = '3 * 4 = 12 ; 12 - 5 = 7 A 7';
  const verdict = (item: Literal<typeof ScoreItemSchema>) => likelihood(peer, { question, ...item });
  const [yes, no, unasked] = await Promise.all([
    verdict({ candidate, continuation: 'yes' }),
    verdict({ candidate, continuation: 'no' }),
    verdict({ continuation: 'yes' }),
  ]);
  ok(Math.exp(yes.logProb) + Math.exp(no.logProb) > 0.9, 'it says one of the two');
  ok(Math.exp(unasked.logProb) < 0.1, 'to the bare question it says neither');
  const context = [{ peer: 'bee', speaker: 1, text: candidate }];
  const { results } = await peer.client.score({
    items: [{ itemId: 'i', question, candidate, context, continuation: 'yes' }],
  });
  ok(results[0]?.outcome.case === 'failure');
  match(results[0].outcome.value.message, /both a context and a candidate/);
});

test('versions: the reference stays, snapshots and restores bring weights back', async (t) => {
  const mesh = await startMesh(t);
  const blobs = await temporaryFolder(t);
  const env = { PARLEY_BLOBS: `file://${blobs}`, PARLEY_KEEP_VERSIONS: '1' };
  const stateDir = await temporaryFolder(t);
  const peer = await startTestPeer(mesh, stateDir, env);
  const atStart = await peer.client.describe({});
  const before = await likelihood(peer, { continuation: 'it is 2' });

  const { committed: first } = await peer.client.applyUpdate({ update: updateOf(0) });
  notEqual((await likelihood(peer, { continuation: 'it is 2' })).logProb, before.logProb);
  equal((await likelihood(peer, { continuation: 'it is 2' }, true)).logProb, before.logProb);
  const { version } = await peer.client.score({
    items: [{ itemId: 'a', question: 'q', continuation: 'c' }],
    reference: true,
  });
  equal(version, 0n);

  const snapshot = await peer.client.snapshot({ requestId: 'keep-1' });
  equal(snapshot.version, 1n);
  equal(snapshot.weights?.sha256, first?.weights?.sha256);
  const path = fileURLToPath(snapshot.weights?.uri ?? '');
  ok(path.endsWith('keep-1.safetensors'));
  equal(sha256(await readFile(path)), snapshot.weights?.sha256);

  await peer.client.applyUpdate({ update: updateOf(1) });
  equal(
    (await peer.client.snapshot({ requestId: 'keep-1' })).version,
    1n,
    'the same request has the same answer',
  );
  const gone = await refusal(
    peer.client.restore({ requestId: 'b1', source: { case: 'version', value: 1n } }),
    'NOT_FOUND',
    'VERSION_NOT_KEPT',
  );
  ok(/ant \(now at version 2\) does not keep version 1.*PARLEY_KEEP_VERSIONS/.test(gone), gone);

  const restore = {
    requestId: 'b2',
    reason: 'test',
    source: { case: 'weights' as const, value: snapshot.weights! },
  };
  const { committed: back } = await peer.client.restore(restore);
  equal(back?.version, 3n);
  equal(back?.weights?.sha256, first?.weights?.sha256);
  ok(back?.cause.case === 'restore' && back.cause.value.requestId === 'b2' && back.report === undefined);
  const again = await peer.client.restore(restore);
  equal(again.committed?.version, 3n, 'the same request makes no second version');
  equal((await peer.client.describe({})).version, 3n);

  await writeFile(path, 'altered');
  const other = { ...restore, requestId: 'b3' };
  await refusal(peer.client.restore(other), 'DATA_LOSS', 'DIGEST_MISMATCH');
  await rm(path);
  await refusal(peer.client.restore(other), 'NOT_FOUND', 'BLOB_MISSING');
  equal((await peer.client.describe({})).version, 3n);

  const { committed: origin } = await peer.client.restore({
    requestId: 'b4',
    source: { case: 'version', value: 0n },
  });
  equal(origin?.version, 4n);
  equal(origin?.weights?.sha256, atStart.weightsSha256);
  equal((await likelihood(peer, { continuation: 'it is 2' })).logProb, before.logProb);
  deepEqual(
    (await mesh.versions('ant')).map((committed) => Number(committed.version)),
    [1, 2, 3, 4],
  );
  equal((await peer.client.describe({})).updatesApplied, 2n);
});

test('weights that hold NaN are not restored', async (t) => {
  const mesh = await startMesh(t);
  const folder = await temporaryFolder(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t), { PARLEY_BLOBS: `file://${folder}` });
  const { weights } = await ant.client.snapshot({ requestId: 's' });
  const content = await readFile(fileURLToPath(weights?.uri ?? ''));
  content.writeFloatLE(NaN, content.length - 4);
  await writeFile(`${folder}/bad.safetensors`, content);
  const bad = { uri: `file://${folder}/bad.safetensors`, sha256: sha256(content) };
  const before = await likelihood(ant, { continuation: 'it is 2' });
  const restored = ant.client.restore({ requestId: 'r', source: { case: 'weights', value: bad } });
  match(await refusal(restored, 'FAILED_PRECONDITION', 'TENSOR_INVALID'), /tensor ".*" holds NaN/);
  equal((await ant.client.describe({})).version, 0n);
  equal((await likelihood(ant, { continuation: 'it is 2' })).logProb, before.logProb);
});

test('a snapshot of another model is refused, and nothing changes', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  const bee = await startTestPeer(mesh, await temporaryFolder(t), {
    PARLEY_PEER_NAME: 'bee',
    PARLEY_TRAIN: 'lora:2',
  });
  equal((await bee.client.describe({})).trainingMethod, 'lora');
  const { weights } = await bee.client.snapshot({ requestId: 's' });
  const before = await likelihood(ant, { continuation: 'it is 2' });
  await refusal(
    ant.client.restore({ requestId: 'r', source: { case: 'weights', value: weights! } }),
    'FAILED_PRECONDITION',
    'TENSOR_INVALID',
  );
  equal((await ant.client.describe({})).version, 0n);
  equal((await likelihood(ant, { continuation: 'it is 2' })).logProb, before.logProb);
});

test('a peer starts from the adapter that it is given, and from its own state ever after', async (t) => {
  const mesh = await startMesh(t);
  const folder = await temporaryFolder(t);
  const adapter = fileURLToPath(new URL('../../../packages/lm/fixtures/adapters/llama', import.meta.url));
  const plain = await startTestPeer(mesh, await temporaryFolder(t), { PARLEY_PEER_NAME: 'bee' });
  const env = { PARLEY_TRAIN: `adapter:${adapter}` };
  const started = await startTestPeer(mesh, folder, env);
  const first = await likelihood(started, { continuation: 'it is 2' });
  notEqual(first.logProb, (await likelihood(plain, { continuation: 'it is 2' })).logProb);
  await started.stop();
  const again = await startTestPeer(mesh, folder, env);
  equal((await likelihood(again, { continuation: 'it is 2' })).logProb, first.logProb);
});

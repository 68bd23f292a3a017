import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_ANSWERS, verificationQuestion } from '@parley/evaluation';
import { isParleyError } from '@parley/runtime';
import { startScriptedPeer } from '../fixtures/scripted-peer.js';
import type { ScriptedFaults, Script } from '../fixtures/scripted-peer.js';
import { majorityVote } from './majority-vote.js';
import { answersOf, measure } from './measurement.js';
import type { GradedAnswer, MeasurementPlan } from './measurement.js';
import { failureLine } from './measure-with-progress.js';
import { connectPeers } from './peer-clients.js';
import { change, meanGap, sampledScores, shareCorrect, shareUnparseable } from './statistics.js';

const PLAN: MeasurementPlan = {
  questions: [1, 2, 3, 4].map((n) => ({ promptId: `q${n}`, question: `${n}?`, answer: String(n) })),
  sampledQuestions: 2,
  samples: 3,
  sampleTemperature: 0.7,
  maxTokens: 9,
  seed: 5n,
  answers: DEFAULT_ANSWERS,
};

async function measureScripts(
  scripts: Record<string, Script>,
  faults: ScriptedFaults = {},
  plan: MeasurementPlan = PLAN,
) {
  const peers = await Promise.all(
    Object.entries(scripts).map(([name, script]) => startScriptedPeer(name, script, faults)),
  );
  using clients = connectPeers(peers.map(({ name, address }) => [name, address] as const));
  let answers = 0;
  try {
    const context = {
      signal: new AbortController().signal,
      deadlineMs: 5000,
      onAnswer: () => void answers++,
    };
    const measurement = await measure(clients.peers, plan, context);
    return {
      measurement,
      requests: peers.map(({ requests }) => requests),
      scored: peers.map(({ scoreRequests }) => scoreRequests),
      answers,
    };
  } finally {
    await Promise.all(peers.map((peer) => peer[Symbol.asyncDispose]()));
  }
}

/** Right below a number, else one too many. */
const rightBelow =
  (limit: number): Script =>
  ({ question }) => {
    const n = parseInt(question);
    return { text: `the answer is ${n < limit ? n : n + 1}`, logProb: -n };
  };

test('peers are asked greedily and sampled, graded, and vote', async () => {
  const { measurement, requests, answers } = await measureScripts({
    a: rightBelow(4),
    b: rightBelow(2),
    c: rightBelow(9),
  });
  const greedy = measurement.peers.map((peer) => peer.greedy.map((one) => one?.correct));
  assert.deepEqual(greedy, [
    [true, true, true, false],
    [true, false, false, false],
    [true, true, true, true],
  ]);
  assert.deepEqual(
    measurement.vote.map((one) => one?.correct),
    [true, true, true, false],
  );
  assert.equal(answers, 3 * (4 + 2 * 3));
  assert.deepEqual(
    measurement.peers.map(({ version }) => version),
    [3n, 3n, 3n],
  );
  const [first = [], second = []] = requests;
  assert.deepEqual(
    first.map(({ sampling }) => sampling?.temperature.toFixed(1)),
    ['0.0', '0.7'],
  );
  const seeds = first[1]?.items.map(({ seed }) => seed) ?? [];
  assert.equal(new Set(seeds).size, 6);
  assert.deepEqual(
    second[1]?.items.map(({ seed }) => seed),
    seeds,
  );
});

test('a stream that breaks is repeated with the missing items alone', async () => {
  const { measurement, requests } = await measureScripts({ a: rightBelow(9) }, { breakStreams: 2 });
  assert.equal(shareCorrect(measurement.peers[0]?.greedy ?? []).value, 1);
  assert.deepEqual(
    requests[0]?.map(({ items }) => items.length),
    [4, 3, 2, 6],
  );
});

test('a failed answer is left out and named, never counted as wrong', async () => {
  const { measurement } = await measureScripts({
    a: (item) =>
      item.question === '1?' ? { reason: 'PROMPT_TOO_LONG' } : { text: `A: ${item.question.slice(0, 1)}` },
  });
  const [peer] = measurement.peers;
  assert.ok(peer);
  assert.deepEqual([shareCorrect(peer.greedy).value, shareCorrect(peer.greedy).n], [1, 3]);
  assert.deepEqual(peer.failures, { PROMPT_TOO_LONG: 4 });
  assert.equal(failureLine(measurement), 'Not answered, and left out: a: 4 × PROMPT_TOO_LONG');
  assert.equal(sampledScores(peer, 3)?.questions, 1);
});

test('a peer that breaks its contract, or changes while it is measured, is named', async () => {
  await assert.rejects(
    measureScripts({ ant: rightBelow(9) }, { forgetLast: true }),
    /Peer ant left 1 of \d items unanswered/,
  );
  await assert.rejects(
    measureScripts({ ant: rightBelow(9) }, { changingCalls: true }),
    /ant changed from version 4 to 5 while it was measured/,
  );
  await assert.rejects(measureScripts({ ant: rightBelow(9) }, { changing: true }), (error) => {
    assert.ok(isParleyError(error, 'VERSION_MISMATCH'));
    assert.match(error.message, /ant changed from version 4 to 5 .* while it was measured/);
    return true;
  });
});

test('a question is asked inside its template, and numbers are graded with the tolerance', async () => {
  const plan = { ...PLAN, promptTemplate: 'Q: {question} {x}', tolerance: 0.5 };
  const { measurement, requests } = await measureScripts({ a: () => ({ text: '1.1' }) }, {}, plan);
  assert.deepEqual(
    requests[0]?.[0]?.items.map(({ question }) => question),
    ['Q: 1? {x}', 'Q: 2? {x}', 'Q: 3? {x}', 'Q: 4? {x}'],
  );
  assert.deepEqual(
    measurement.peers[0]?.greedy.map((one) => one?.correct),
    [true, true, false, false],
  );
});

/** Right, wrong and without an answer in turn, by the seed. */
function mixed() {
  let count = 0;
  const texts = ['the answer is 1', 'the answer is 2', 'no idea'];
  return () => ({ text: texts[count++ % texts.length] ?? '' });
}

for (const judgesCandidates of [false, true]) {
  const layout = judgesCandidates ? 'template' : 'question';
  test(`a peer says yes or no to its own samples, asked by ${layout}`, async () => {
    const plan = {
      ...PLAN,
      questions: PLAN.questions.slice(0, 1),
      sampledQuestions: 1,
      verifiers: ['yes-no'] as const,
    };
    const { measurement, scored, answers } = await measureScripts(
      { a: mixed() },
      {
        judgesCandidates,
        score: ({ question, candidate, continuation }) => {
          const judged = candidate ?? question;
          if (judged.includes('no idea')) return { reason: 'PROMPT_TOO_LONG' };
          const says = judged.includes('answer is 1') ? 'yes' : 'no';
          return { logProb: continuation.toLowerCase() === says ? -0.1 : -3 };
        },
      },
      plan,
    );
    const { yesNo, gap } = measurement.peers[0] ?? assert.fail();
    assert.deepEqual(yesNo, {
      layout,
      judged: 2,
      failures: { PROMPT_TOO_LONG: 1 },
      gap: { generatorAccuracy: 0.5, selectedAccuracy: 1, gap: 0.5, relativeGap: 1, auc: 1, withinAuc: 1 },
    });
    assert.equal(gap?.generatorAccuracy, 1 / 3);
    const items = scored[0]?.flatMap((request) => request.items) ?? [];
    assert.deepEqual(
      items.map(({ continuation }) => continuation),
      [1, 2, 3].flatMap(() => (judgesCandidates ? ['yes', 'no'] : ['Yes', 'No'])),
    );
    const asked = { template: '1?', question: verificationQuestion('1?', 'the answer is 2') };
    assert.equal(items[0]?.question, asked[layout]);
    assert.equal(items[0]?.candidate, judgesCandidates ? 'the answer is 2' : undefined);
    assert.equal(scored[0]?.[0]?.version, 3n, 'no other version may judge');
    assert.equal(answers, answersOf(plan, 1));
  });
}

test('without samples nobody is asked to judge', async () => {
  const plan = { ...PLAN, sampledQuestions: 0, verifiers: ['yes-no'] as const };
  const { measurement } = await measureScripts({ a: rightBelow(9) }, {}, plan);
  assert.equal(measurement.peers[0]?.yesNo, undefined);
});

const graded = (answer: string | null, correct: boolean, logProb = -1): GradedAnswer => ({
  answer,
  correct,
  logProb,
  tokens: 1,
  meanEntropy: 0,
});

test('a vote goes by number, then by the most confident answer; silence does not vote', () => {
  const vote = (...given: (GradedAnswer | undefined)[]) => majorityVote(given)?.answer;
  assert.equal(vote(graded('7', true, -9), graded('8', false, -1), graded('7', true, -8)), '7');
  assert.equal(vote(graded('7', true, -3), graded('8', false, -1), graded('9', false, -2)), '8');
  assert.equal(vote(graded(null, false, 0), graded('9', false, -50), undefined), '9');
  assert.equal(vote(graded('9', false, -1), graded('15,9', true, -4), graded('9,15', true, -3)), '9,15');
  const halves = ['\\frac{\\sqrt3}{3}', '1/\\sqrt{3}'].map((written) => ({
    ...graded(written, true, -5),
    written,
  }));
  assert.equal(vote(graded('7', false, -1), ...halves), '\\frac{\\sqrt3}{3}');
  assert.equal(majorityVote([graded(null, false)])?.correct, false);
  assert.equal(majorityVote([undefined, undefined]), undefined);
});

test('changes are paired over what was answered both times', () => {
  const [right, wrong] = [graded('1', true), graded('2', false)];
  const { delta, n, wrongToRight, rightToWrong, ci95 } = change(
    [wrong, wrong, right, undefined, right],
    [right, wrong, right, right, undefined],
    1n,
  );
  assert.deepEqual([delta, n, wrongToRight, rightToWrong], [1 / 3, 3, 1, 0]);
  assert.ok(ci95.low <= delta && delta <= ci95.high);
});

test('samples give accuracy, pass@k and majority; the gap is what the likelihood picks above them', () => {
  const samples = [
    [graded('1', true, -1), graded('2', false, -2), graded('2', false, -3)],
    [graded('5', true, -1), graded('5', true, -2), graded('6', false, -3)],
  ];
  const peer = { name: 'a', version: 0n, greedy: [], samples, gap: undefined, failures: {} };
  const scores = sampledScores(peer, 3);
  assert.deepEqual([scores?.accuracy, scores?.passAtK, scores?.majority], [0.5, 1, 0.5]);
  assert.deepEqual(
    scores?.passAt.map(({ k, value }) => [k, value.toFixed(3)]),
    [
      [1, '0.500'],
      [2, '0.833'],
      [3, '1.000'],
    ],
  );
  assert.deepEqual([scores?.selfConsistency.value, scores?.selfConsistency.n], [0.5, 2]);
  assert.equal(scores?.unparseable, 0);
  assert.equal(shareUnparseable([graded(null, false), graded('1', false), undefined]).value, 0.5);
  const gap = { gap: 0.5, generatorAccuracy: 0.5, selectedAccuracy: 1, relativeGap: 1, auc: 1 };
  const peers = [
    { ...peer, gap },
    { ...peer, gap: { ...gap, gap: 0.1 } },
  ];
  assert.equal(meanGap({ peers, vote: [], seconds: 0 }), 0.3);
  assert.equal(meanGap({ peers: [peer], vote: [], seconds: 0 }), undefined);
});

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { aggregateRound } from './aggregate.js';
import { clusterTexts } from './cluster.js';
import { estimateReliability } from './dawid-skene.js';
import { createRandom } from './random.js';
import { TRUST } from './recipe.js';
import type { AnsweredQuestion } from './round.js';
import { response } from './test-round.js';

const TOPICS = [
  'tom lost apples and then found some how many now',
  'a train leaves the station at noon with what speed',
  'two angles of the triangle are given find the third',
];
const PEERS = ['a', 'b', 'c'];

/** Each peer is weak on one topic. */
function reliabilityOf(peer: string, topic: number): number {
  return PEERS.indexOf(peer) === topic ? 0.3 : 0.85;
}

function makeRound(
  seed: bigint,
  count = 360,
): { questions: AnsweredQuestion[]; right: string[]; topics: number[] } {
  const random = createRandom(seed);
  const topics = Array.from({ length: count }, (_, i) => i % 3);
  const right = topics.map(() => String(random.integer(10, 99)));
  const questions = topics.map((topic, i) => {
    const responses = PEERS.map((peer) => {
      const knows = random.float() < reliabilityOf(peer, topic);
      return response(peer, knows ? right[i] : String((Number(right[i]) + 15 * random.integer(1, 5)) % 90));
    });
    const likelihoods = PEERS.map((peer, k) => ({
      peer,
      logLikelihoods: responses.map(({ answer }) => (answer === responses[k].answer ? -0.5 : -3)),
    }));
    return { promptId: `q${i}`, text: `${TOPICS[topic]} ${i}`, responses, likelihoods };
  });
  return { questions, right, topics };
}

describe('trust', () => {
  it('groups questions by topic, whatever their order', () => {
    const { questions, topics } = makeRound(1n, 90);
    const texts = questions.map(({ text }) => text);
    const options = { clusters: 3, svdDimensions: 3, seed: 1n };
    const labels = clusterTexts(texts, options);
    assert.equal(new Set(labels).size, 3);
    labels.forEach((label, i) => assert.equal(label, labels[topics[i]]));
    assert.deepEqual(clusterTexts([...texts].reverse(), options), [...labels].reverse());
  });

  it('clusters degenerate input without failing', () => {
    const options = { clusters: 3, svdDimensions: 3, seed: 1n };
    assert.deepEqual(clusterTexts([], options), []);
    assert.deepEqual(clusterTexts(['same', 'same', 'same'], options), [0, 0, 0]);
    assert.deepEqual(clusterTexts(['', '12 34'], options), [0, 0]);
    assert.equal(clusterTexts(['one thing', 'another matter'], { ...options, svdDimensions: 50 }).length, 2);
  });

  it('learns from agreement alone how often each peer is right on each topic', () => {
    const { questions, topics } = makeRound(2n, 1500);
    const reliability = estimateReliability(questions, topics, TRUST.aggregate.trust);
    for (const peer of PEERS) {
      for (const topic of [0, 1, 2]) {
        const error = Math.abs(reliability.get(peer)![topic] - reliabilityOf(peer, topic));
        assert.ok(error < 0.08, `${peer} on topic ${topic}: off by ${error.toFixed(3)}`);
      }
    }
  });

  it('keeps to the prior where there is nothing to learn from', () => {
    const silent = [{ promptId: 'q', text: 'q', responses: [response('a', null), response('b', null)] }];
    assert.equal(estimateReliability(silent, [0], TRUST.aggregate.trust).get('a')![0], 0.75);
    assert.equal(estimateReliability([], [], TRUST.aggregate.trust).size, 0);
  });

  it('follows the peer that knows the topic and beats the plain vote', () => {
    const { questions, right } = makeRound(3n, 1500);
    const accuracy = (strategy: 'trust' | 'vote', minMargin: number): [number, number] => {
      const trust = { ...TRUST.aggregate.trust, clusters: 3, svdDimensions: 3 };
      const aggregate = { ...TRUST.aggregate, strategy, minMargin, trust };
      const found = aggregateRound({ aggregate, guards: TRUST.guards }, questions, 1n);
      const accepted = found.flatMap((one, i) => (one.accepted ? [one.answer === right[i]] : []));
      return [accepted.filter(Boolean).length / accepted.length, accepted.length / found.length];
    };
    const [vote] = accuracy('vote', 0);
    const [trust] = accuracy('trust', 0);
    const [precision, coverage] = accuracy('trust', 0.9);
    assert.ok(trust > vote + 0.01, `trust ${trust} against vote ${vote}`);
    assert.ok(precision > 0.96 && coverage > 0.35, `precision ${precision} at coverage ${coverage}`);
  });
});

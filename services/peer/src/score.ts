import { create } from '@bufbuild/protobuf';
import { LikelihoodSchema, ScoreResponseSchema, ScoreResultSchema } from '@parley/contracts';
import type { ScoreItem, ScoreRequest, ScoreResponse, ScoreResult } from '@parley/contracts';
import type { Score } from '@parley/lm';
import { ParleyError } from '@parley/runtime';
import { encodeAll } from './encode-all.js';
import { idProblems, refuseProblems, toItemFailure, tooLong } from './item-failure.js';
import type { PeerMetrics } from './peer-metrics.js';
import type { EncodedSpan, TextCodec } from './text-codec.js';
import type { VersionedModel } from './versioned-model.js';

/** Spans scored before looking whether anybody still waits: many batches, so that lengths can be grouped. */
const CHUNK_ITEMS = 512;

/**
 * Log-likelihoods of the spans of a request, in its order; a span that cannot be scored has a failure in its place.
 *
 * @throws ParleyError REQUEST_INVALID, VERSION_MISMATCH; CANCELLED; what the engine throws
 */
export async function score(
  model: VersionedModel,
  codec: TextCodec,
  request: ScoreRequest,
  { signal, metrics }: { signal: AbortSignal; metrics: PeerMetrics },
): Promise<ScoreResponse> {
  refuseProblems('Score request', idProblems(request.items));
  const { items, reference } = request;
  const spans = await encodeAll(items, (item) => encodeItem(codec, item, model.info.contextTokens));
  const ready = spans.filter((span): span is EncodedSpan => !(span instanceof Error));
  const pairs = ready.map(({ given, scored }) => ({ prompt: given, target: scored }));
  return model.read({ activity: 'scoring', version: request.version, signal }, async (engine, version) => {
    const scores: Score[] = [];
    for (let start = 0; start < pairs.length; start += CHUNK_ITEMS) {
      signal.throwIfAborted();
      scores.push(...(await engine.score(pairs.slice(start, start + CHUNK_ITEMS), { reference })));
    }
    let next = 0;
    const results = items.map(({ itemId }, index) => {
      const span = spans[index];
      const outcome = span instanceof Error ? failure(span) : likelihood(scores[next++]);
      measure(metrics, outcome);
      return create(ScoreResultSchema, { itemId, outcome });
    });
    return create(ScoreResponseSchema, { results, version: reference ? 0n : BigInt(version) });
  });
}

function measure({ items, tokens }: PeerMetrics, outcome: ScoreResult['outcome']): void {
  items.inc({ work: 'score', outcome: outcome.case === 'likelihood' ? 'done' : 'failed' });
  if (outcome.case === 'likelihood') tokens.inc({ kind: 'scored' }, outcome.value.tokens);
}

function encodeItem(codec: TextCodec, item: ScoreItem, contextTokens: number): EncodedSpan {
  const name = `Item ${item.itemId}`;
  const problems = item.question.trim() === '' ? ['its question is empty'] : [];
  if (item.continuation === '' && !item.includeEnd)
    problems.push('its continuation is empty: there is nothing to score');
  if (item.candidate !== undefined) {
    if (!codec.judgesCandidates)
      problems.push(
        'it has a candidate, and the chat template of this model lays none out (Describe says so): ask for the judgement in the question',
      );
    if (item.context.length > 0) problems.push('it has both a context and a candidate; leave one out');
  }
  refuseProblems(name, problems);
  const prompt =
    item.candidate === undefined
      ? codec.prompt(item.question, item.context)
      : codec.verification(item.question, item.candidate);
  const span = codec.span(prompt, item.prefix, item.continuation, item.includeEnd);
  refuseProblems(name, span.scored.length === 0 ? ['its continuation has no tokens of its own'] : []);
  const tokens = span.given.length + span.scored.length;
  if (tokens <= contextTokens) return span;
  throw tooLong(name, tokens, contextTokens, `${span.given.length} given and ${span.scored.length} scored`);
}

function failure(error: Error): ScoreResult['outcome'] {
  return { case: 'failure', value: toItemFailure(error) };
}

function likelihood({ logProb, tokens }: Score): ScoreResult['outcome'] {
  if (!Number.isFinite(logProb)) {
    return failure(
      new ParleyError(
        'INTERNAL',
        `The span's log-likelihood is ${logProb}; the model's weights may have diverged`,
      ),
    );
  }
  // Rounding can lift the sum of certain tokens a hair above 0.
  return { case: 'likelihood', value: create(LikelihoodSchema, { logProb: Math.min(0, logProb), tokens }) };
}

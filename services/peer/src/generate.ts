import { create } from '@bufbuild/protobuf';
import {
  CompletionSchema,
  FinishReason,
  GenerateResponseSchema,
  GeneratedTokenSchema,
  TokenLogProbSchema,
} from '@parley/contracts';
import type {
  Completion,
  GenerateItem,
  GenerateRequest,
  GenerateResponse,
  GeneratedToken,
  Sampling,
} from '@parley/contracts';
import { samplingProblems } from '@parley/lm';
import type { Completion as EngineCompletion, GenerateOptions, LanguageModelInfo } from '@parley/lm';
import { encodeAll } from './encode-all.js';
import { idProblems, refuseProblems, toItemFailure, tooLong } from './item-failure.js';
import type { PeerMetrics } from './peer-metrics.js';
import type { TextCodec } from './text-codec.js';
import type { VersionedModel } from './versioned-model.js';

/**
 * Answers the items of a request, all with one version. Emits one message an item as its outcome becomes known; items that
 * cannot be answered come first.
 *
 * @param emit - called once an item; must not throw
 * @throws ParleyError REQUEST_INVALID, VERSION_MISMATCH before anything is emitted; CANCELLED; what the engine throws
 */
export async function generate(
  model: VersionedModel,
  codec: TextCodec,
  request: GenerateRequest,
  emit: (response: GenerateResponse) => void,
  { signal, metrics }: { signal: AbortSignal; metrics: PeerMetrics },
): Promise<void> {
  const sampling = checkRequest(request);
  const encode = (item: GenerateItem) => ({
    prompt: encodePrompt(codec, item, sampling, model.info),
    seed: seedOf(item.seed),
  });
  const encoded = await encodeAll(request.items, encode);
  await model.read({ activity: 'generating', version: request.version, signal }, async (engine, version) => {
    const respond = (itemId: string, outcome: GenerateResponse['outcome']) => {
      measure(metrics, outcome);
      emit(create(GenerateResponseSchema, { itemId, version: BigInt(version), outcome }));
    };
    const ready: { itemId: string; prompt: number[]; seed: number }[] = [];
    for (const [index, { itemId }] of request.items.entries()) {
      const item = encoded[index];
      if (item instanceof Error) respond(itemId, { case: 'failure', value: toItemFailure(item) });
      else ready.push({ itemId, ...item });
    }
    if (ready.length === 0) return;
    const options = { ...toOptions(sampling), stopTokens: codec.endTokens };
    const onCompletion = (index: number, answer: EngineCompletion) => {
      const { itemId, prompt } = ready[index];
      respond(itemId, { case: 'completion', value: toCompletion(codec, prompt, answer, sampling) });
    };
    const items = ready.map(({ prompt, seed }) => ({ prompt, seed }));
    await engine.generate(items, options, { onCompletion, signal });
  });
}

function measure({ items, tokens }: PeerMetrics, outcome: GenerateResponse['outcome']): void {
  items.inc({ work: 'generate', outcome: outcome.case === 'completion' ? 'done' : 'failed' });
  if (outcome.case !== 'completion') return;
  tokens.inc({ kind: 'prompt' }, outcome.value.promptTokens);
  tokens.inc({ kind: 'completion' }, outcome.value.completionTokens);
}

function checkRequest({ items, sampling }: GenerateRequest): Sampling {
  const problems = idProblems(items);
  if (sampling === undefined) problems.push('sampling is missing');
  else problems.push(...samplingProblems(toOptions(sampling), WIRE_NAMES));
  refuseProblems('Generate request', problems);
  return sampling!;
}

/** Fields of `Sampling` by the engine's options. */
const WIRE_NAMES = {
  maxTokens: 'sampling.max_tokens',
  temperature: 'sampling.temperature',
  topK: 'sampling.top_k',
  topP: 'sampling.top_p',
  minP: 'sampling.min_p',
  repetitionPenalty: 'sampling.repetition_penalty',
  topLogProbs: 'sampling.top_log_probs',
  stopStrings: 'sampling.stop',
};

/** Where the contract's 0 means "off", the engine's 1 does. */
function toOptions({ stop, topP, repetitionPenalty, topLogProbs, ...same }: Sampling): GenerateOptions {
  const { maxTokens, temperature, topK, minP } = same;
  return {
    maxTokens,
    temperature,
    topK,
    topP: topP === 0 ? 1 : topP,
    minP,
    repetitionPenalty: repetitionPenalty === 0 ? 1 : repetitionPenalty,
    topLogProbs: topLogProbs ?? 0,
    stopStrings: stop,
  };
}

function encodePrompt(
  codec: TextCodec,
  item: GenerateItem,
  { maxTokens }: Sampling,
  info: LanguageModelInfo,
): number[] {
  refuseProblems(`Item ${item.itemId}`, item.question.trim() === '' ? ['its question is empty'] : []);
  const prompt = codec.prompt(item.question, item.context);
  const tokens = prompt.length + maxTokens;
  if (tokens <= info.contextTokens) return prompt;
  const detail = `${prompt.length} of the prompt and max_tokens ${maxTokens}`;
  throw tooLong(`Item ${item.itemId}`, tokens, info.contextTokens, detail);
}

/** Folds 64 bits into the 53 that a number holds exactly; seeds below 2^53 stay what they are. */
function seedOf(seed: bigint): number {
  return Number(BigInt.asUintN(53, seed ^ (seed >> 53n)));
}

function toCompletion(
  codec: TextCodec,
  prompt: number[],
  answer: EngineCompletion,
  { stop, topLogProbs }: Sampling,
): Completion {
  return create(CompletionSchema, {
    text: codec.text(answer.tokens, stop),
    finishReason: answer.finish === 'stop' ? FinishReason.STOP : FinishReason.LENGTH,
    promptTokens: prompt.length,
    completionTokens: answer.tokens.length,
    logProb: answer.logProbs.reduce((sum, value) => sum + value, 0),
    meanEntropy: answer.meanEntropy,
    tokens: topLogProbs === undefined ? [] : toGeneratedTokens(codec, answer),
  });
}

function toGeneratedTokens(codec: TextCodec, answer: EngineCompletion): GeneratedToken[] {
  const describe = ({ token, logProb }: { token: number; logProb: number }) =>
    create(TokenLogProbSchema, { token, text: codec.tokenText(token), logProb });
  return answer.tokens.map((token, position) =>
    create(GeneratedTokenSchema, {
      chosen: describe({ token, logProb: answer.logProbs[position] }),
      likeliest: (answer.topLogProbs?.[position] ?? []).map(describe),
    }),
  );
}

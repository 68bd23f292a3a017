import { create } from '@bufbuild/protobuf';
import { AppliedUpdateSchema, TrainingReportSchema } from '@parley/contracts';
import type { TrainingReport, TrainingSettings, UpdateItem, WeightedUpdate } from '@parley/contracts';
import { LmError } from '@parley/lm';
import type { LanguageModel, TrainSequence } from '@parley/lm';
import { ParleyError } from '@parley/runtime';
import { encodeAll } from './encode-all.js';
import { tooLong } from './item-failure.js';
import type { TextCodec } from './text-codec.js';
import { checkTrainingSettings, planSteps } from './training-plan.js';
import type { PlannedStep } from './training-plan.js';
import type { Change } from './versioned-model.js';

/** What an update is checked against. */
export interface UpdateContext {
  readonly peer: string;
  readonly codec: TextCodec;
  readonly contextTokens: number;
  /** Monotonic, in milliseconds. */
  readonly nowMs: () => number;
  /** Fires when nobody waits any more; training then stops between two steps. */
  readonly signal: AbortSignal;
}

/**
 * The change that an update asks for. All of it is checked, and its optimiser steps planned, before anything changes:
 * `prepare` throws ParleyError WEIGHT_NOT_FINITE or PROMPT_TOO_LONG naming the item, REQUEST_INVALID for settings or fields
 * that make no sense, or an update of another peer.
 */
export function updateChange(update: WeightedUpdate, context: UpdateContext): Change {
  const { updateId, runId, round } = update;
  return {
    activity: 'training',
    cause: { case: 'update', value: create(AppliedUpdateSchema, { updateId, runId, round }) },
    madeBefore: (ledger) => ledger.versionOfUpdate(updateId),
    record: (ledger, version) => ledger.withUpdate(updateId, version),
    async prepare() {
      const begunMs = context.nowMs();
      const items = activeItems(update);
      const steps = await plan(update, items, context);
      return async (model) => {
        const report = await train(model, update, steps, context.signal);
        return { ...report, items: items.length, seconds: (context.nowMs() - begunMs) / 1000 };
      };
    },
  };
}

/** An item with what to call it in messages. */
interface NamedItem {
  readonly item: UpdateItem;
  readonly name: string;
}

/** Items that move the weights. @throws ParleyError WEIGHT_NOT_FINITE */
function activeItems(update: WeightedUpdate): NamedItem[] {
  const named = update.items.map((item, index) => ({ item, name: nameOf(update, item, index) }));
  named.forEach(checkWeights);
  return named.filter(({ item }) => item.weight > 0 || item.anchorWeight > 0);
}

async function plan(
  update: WeightedUpdate,
  items: readonly NamedItem[],
  { peer, codec, contextTokens }: UpdateContext,
): Promise<PlannedStep<TrainSequence>[]> {
  const { updateId, training, seed } = update;
  if (updateId === '') throw new ParleyError('REQUEST_INVALID', 'The update has no update_id');
  if (update.peer !== peer) {
    throw new ParleyError(
      'REQUEST_INVALID',
      `Update ${updateId} is for peer ${update.peer}, but this is peer ${peer}`,
    );
  }
  if (items.length === 0) return [];
  if (training === undefined) {
    throw new ParleyError('REQUEST_INVALID', `Update ${updateId} has items but no training settings`);
  }
  checkTrainingSettings(training);
  checkAnchor(training, items);
  const encoded = await encodeAll(items, (item) => encodeItem(item, codec, contextTokens));
  const sequences = encoded.map((sequence) => {
    if (sequence instanceof Error) throw sequence;
    return sequence;
  });
  return planSteps(sequences, training, seed);
}

/** @throws ParleyError REQUEST_INVALID if an item is to be anchored and nothing says to what */
function checkAnchor({ anchorReference }: TrainingSettings, items: readonly NamedItem[]): void {
  if (['initial', 'previous'].includes(anchorReference)) return;
  const anchored = items.find(({ item }) => item.anchorWeight > 0);
  if (anchored === undefined && anchorReference === '') return;
  throw new ParleyError(
    'REQUEST_INVALID',
    `Training settings of the update: anchor_reference is "${anchorReference}", must be "initial" or "previous"` +
      (anchored ? `; ${anchored.name} has an anchor weight` : ''),
    { details: { anchor_reference: anchorReference } },
  );
}

function nameOf({ updateId }: WeightedUpdate, { promptId }: UpdateItem, index: number): string {
  return `Item ${index} (prompt ${promptId}) of update ${updateId}`;
}

function checkWeights({ item, name }: NamedItem): void {
  for (const [field, value] of Object.entries({ weight: item.weight, anchor_weight: item.anchorWeight })) {
    if (Number.isFinite(value) && value >= 0) continue;
    throw new ParleyError(
      'WEIGHT_NOT_FINITE',
      `${name} has ${field} ${value}; a weight must be finite and at least 0. Nothing was changed; correct the update and send it again`,
      { details: { item: name, [field]: String(value) } },
    );
  }
}

function encodeItem({ item, name }: NamedItem, codec: TextCodec, contextTokens: number): TrainSequence {
  if (item.target === '')
    throw new ParleyError(
      'REQUEST_INVALID',
      `${name} has an empty target; leave the item out or give it one`,
    );
  if (item.question.trim() === '') throw new ParleyError('REQUEST_INVALID', `${name} has an empty question`);
  const prompt = codec.prompt(item.question, item.context);
  const target = codec.target(item.target);
  const tokens = prompt.length + target.length;
  if (tokens > contextTokens) {
    throw tooLong(
      name,
      tokens,
      contextTokens,
      `${prompt.length} of the prompt and ${target.length} of the target`,
    );
  }
  return { prompt, target, weight: item.weight, anchorWeight: item.anchorWeight };
}

async function train(
  model: LanguageModel,
  { updateId, training }: WeightedUpdate,
  steps: readonly PlannedStep<TrainSequence>[],
  signal: AbortSignal,
): Promise<TrainingReport> {
  const total = { loss: 0, anchorLoss: 0, gradNorm: 0, tokens: 0 };
  const anchored = steps.some(({ items }) => items.some((item) => (item.anchorWeight ?? 0) > 0));
  // A copy of the weights, where one is needed.
  const anchor = anchored && training?.anchorReference === 'previous' ? 'current' : 'loaded';
  await model.anchorTo(anchor);
  for (const [index, { items, settings }] of steps.entries()) {
    signal.throwIfAborted();
    const step = await model.trainStep(items, settings).catch((error: unknown) => {
      throw isDivergence(error) ? diverged(updateId, index, steps.length, error) : error;
    });
    if (!Number.isFinite(step.loss + step.anchorLoss + step.gradNorm))
      throw diverged(updateId, index, steps.length);
    total.loss += step.loss;
    total.anchorLoss += step.anchorLoss;
    total.gradNorm += step.gradNorm;
    total.tokens += step.tokens;
  }
  // Lets the copy go.
  await model.anchorTo('loaded');
  const count = Math.max(1, steps.length);
  return create(TrainingReportSchema, {
    steps: steps.length,
    meanLoss: total.loss / count,
    meanAnchorLoss: total.anchorLoss / count,
    meanGradNorm: total.gradNorm / count,
    tokens: BigInt(total.tokens),
  });
}

function isDivergence(error: unknown): boolean {
  return error instanceof LmError && error.reason === 'GRADIENT_NOT_FINITE';
}

function diverged(updateId: string, step: number, steps: number, cause?: unknown): ParleyError {
  return new ParleyError(
    'TRAINING_DIVERGED',
    `Training diverged in step ${step + 1} of ${steps} of update ${updateId}: its loss or gradient is not finite. The ` +
      'weights are as before; lower learning_rate or set max_grad_norm',
    { details: { updateId, step: String(step) }, cause },
  );
}

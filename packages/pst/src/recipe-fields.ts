/** Who a choice comes from: the paper's text, readers of it, or this project. */
export type Provenance = 'paper' | 'reported' | 'ours';

/** What one field of a recipe may hold. Bounds are inclusive unless `above`/`below` say otherwise. */
export type FieldRule = { readonly source: Provenance } & (
  | { readonly type: 'choice'; readonly values: readonly string[] }
  | {
      /** At least one of the values, none twice, in an order that matters. */
      readonly type: 'list';
      readonly values: readonly string[];
    }
  | { readonly type: 'boolean' }
  | {
      readonly type: 'number' | 'integer';
      readonly min?: number;
      readonly max?: number;
      /** Excludes `min` itself. */
      readonly above?: boolean;
      /** Excludes `max` itself. */
      readonly below?: boolean;
      readonly nullable?: boolean;
    }
);

const choice = (source: Provenance, ...values: string[]): FieldRule => ({ type: 'choice', source, values });
const share = (source: Provenance): FieldRule => ({ type: 'number', source, min: 0, max: 1 });
const optionalShare = (source: Provenance): FieldRule => ({
  type: 'number',
  source,
  min: 0,
  max: 1,
  nullable: true,
});
const positive = (source: Provenance): FieldRule => ({ type: 'number', source, min: 0, above: true });
const atLeast = (source: Provenance, min: number): FieldRule => ({ type: 'number', source, min });
const count = (source: Provenance, min: number): FieldRule => ({ type: 'integer', source, min });

/**
 * Every field of a recipe by its path: what it may hold and where the choice comes from. Validation, command-line
 * help and the documentation all read this one table.
 */
export const RECIPE_FIELDS: Readonly<Record<string, FieldRule>> = Object.freeze({
  preset: choice('ours', 'paper', 'trust', 'trust-pmi', 'custom'),
  order: choice('paper', 'fixed', 'rotated', 'random'),
  'generation.context': choice('paper', 'sequential', 'independent'),
  'generation.temperature': atLeast('ours', 0),
  'generation.topK': { type: 'integer', source: 'ours', min: 1, nullable: true },
  'generation.topP': { type: 'number', source: 'ours', min: 0, above: true, max: 1 },
  'generation.minP': { type: 'number', source: 'ours', min: 0, above: true, max: 1, nullable: true },
  'generation.repetitionPenalty': { type: 'number', source: 'ours', min: 0.01, max: 100, nullable: true },
  'generation.maxTokens': count('ours', 1),
  'aggregate.strategy': choice('reported', 'last', 'vote', 'confidence', 'trust'),
  'aggregate.answerForms': {
    type: 'list',
    source: 'ours',
    values: ['boxed', 'answer-is', 'marker', 'last-number'],
  },
  'aggregate.minMargin': share('ours'),
  'aggregate.trust.clusters': count('ours', 1),
  'aggregate.trust.svdDimensions': count('ours', 1),
  'aggregate.trust.priorReliability': {
    type: 'number',
    source: 'ours',
    min: 0,
    above: true,
    max: 1,
    below: true,
  },
  'aggregate.trust.priorStrength': atLeast('ours', 0),
  scorer: choice('ours', 'self', 'aggregator', 'mean-of-peers', 'reference'),
  scoredSpan: choice('ours', 'full', 'final-answer'),
  'weight.kind': choice('reported', 'sigmoid', 'exponential', 'uniform', 'disagree'),
  'weight.temperature': positive('reported'),
  'weight.beta': atLeast('ours', 0),
  'weight.baseline': choice('reported', 'zero', 'batch-median', 'running-median'),
  'weight.min': atLeast('ours', 0),
  'weight.max': positive('ours'),
  'weight.normalize': { type: 'boolean', source: 'reported' },
  'weight.author': choice('ours', 'neutral', 'pmi', 'skip'),
  'weight.ablation': choice('ours', 'none', 'reversed', 'shuffled'),
  target: choice('ours', 'aggregate', 'own'),
  'anchor.on': choice('ours', 'none', 'all', 'agreed', 'abstained', 'agreed-and-abstained'),
  'anchor.weight': atLeast('ours', 0),
  'anchor.reference': choice('ours', 'initial', 'previous'),
  'guards.independentSupport': { type: 'boolean', source: 'ours' },
  'guards.maxAgreement': optionalShare('ours'),
  'guards.minAgreement': optionalShare('ours'),
  'guards.entropyDrop': optionalShare('ours'),
  'guards.agreementRise': optionalShare('ours'),
  'guards.frozenAgreementDrop': optionalShare('ours'),
  'guards.lengthDrift': { type: 'number', source: 'ours', min: 0, nullable: true },
  'guards.parseableDrop': optionalShare('ours'),
  'guards.canaryDrop': optionalShare('ours'),
  'guards.significance': {
    type: 'number',
    source: 'ours',
    min: 0,
    above: true,
    max: 1,
    below: true,
    nullable: true,
  },
  'guards.action': choice('ours', 'report', 'stop', 'rollback', 'quarantine', 'pause'),
  'guards.allowClones': { type: 'boolean', source: 'ours' },
  'monitor.questions': count('ours', 0),
  'monitor.everyRounds': count('ours', 1),
  'monitor.temperature': positive('ours'),
  'training.learningRate': positive('ours'),
  'training.schedule': choice('ours', 'constant', 'linear'),
  'training.finalLearningRateRatio': share('ours'),
  'training.epochs': count('ours', 1),
  'training.minibatchSize': count('ours', 1),
  'training.maxGradNorm': atLeast('ours', 0),
  'training.weightDecay': atLeast('ours', 0),
  'training.beta1': { type: 'number', source: 'ours', min: 0, max: 1, below: true },
  'training.beta2': { type: 'number', source: 'ours', min: 0, max: 1, below: true },
  'training.epsilon': positive('ours'),
  'rounds.promptsPerRound': count('ours', 1),
  'rounds.microBatch': count('ours', 1),
  'rounds.maxStaleness': count('ours', 0),
  'rounds.quorum': { type: 'integer', source: 'ours', min: 1, nullable: true },
});

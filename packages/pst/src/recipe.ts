/** The order in which peers answer one question (DESIGN 1.1). */
export type OrderKind = 'fixed' | 'rotated' | 'random';

/** How a round's peers answer: seeing the answers before theirs, or each alone. */
export type GenerationContext = 'sequential' | 'independent';

/** How the answers of one question become its aggregate (DESIGN 1.2). */
export type AggregateStrategy = 'last' | 'vote' | 'confidence' | 'trust';

/**
 * A way in which a text marks its final answer: `boxed` (`\boxed{7}`), `answer-is` ("the answer is 7"), `marker`
 * ("A: 7" or "A 7"), `last-number` (no mark: the last number in the text).
 */
export type AnswerForm = 'boxed' | 'answer-is' | 'marker' | 'last-number';

/** The model q under which the aggregate is scored (DESIGN 1.3). */
export type Scorer = 'self' | 'aggregator' | 'mean-of-peers' | 'reference';

/** The part of the aggregate that PMI is computed on. */
export type ScoredSpan = 'full' | 'final-answer';

/** How a PMI becomes the weight of a training item (DESIGN 1.4). */
export type WeightKind = 'sigmoid' | 'exponential' | 'uniform' | 'disagree';

/** What is subtracted from a PMI before it is weighed. */
export type WeightBaseline = 'zero' | 'batch-median' | 'running-median';

/** Controls that should do worse than the recipe; never a way to train. */
export type WeightAblation = 'none' | 'reversed' | 'shuffled';

/**
 * What the author of the aggregate gets, whose PMI with its own answer is degenerate: the neutral weight 1,
 * its PMI weight all the same, or no update.
 */
export type AuthorWeight = 'neutral' | 'pmi' | 'skip';

/** The text a peer is trained on: the chosen response of the aggregate, or the peer's own response. */
export type UpdateTarget = 'aggregate' | 'own';

/** On which questions a peer is held to its frozen self by a KL term. */
export type AnchorScope = 'none' | 'all' | 'agreed' | 'abstained' | 'agreed-and-abstained';

/** How the learning rate moves over the optimiser steps of ONE update (see {@link learningRateAt}). */
export type LearningRateSchedule = 'constant' | 'linear';

/**
 * What happens when a collapse guard fires: record it; stop training that peer; also restore its last good version;
 * leave the peer out of all that follows; pause the run.
 */
export type GuardAction = 'report' | 'stop' | 'rollback' | 'quarantine' | 'pause';

/** Answering a question. Tokens are filtered in the order of the fields, after penalty and temperature. */
export interface GenerationRecipe {
  context: GenerationContext;
  /** 0 is greedy. */
  temperature: number;
  /** How many likeliest tokens are drawn from; null: all. */
  topK: number | null;
  /** Nucleus mass in (0, 1]; 1 keeps the whole distribution. */
  topP: number;
  /** Least probability of a token that is drawn from, as a share of the likeliest token's; null: any. */
  minP: number | null;
  /** Makes tokens less likely that question or answer hold already (arXiv 1909.05858); null: no penalty. */
  repetitionPenalty: number | null;
  /** Longest response, in the answering peer's own tokens. */
  maxTokens: number;
}

/** The label-free reliability model behind the `trust` strategy; ignored by the others. */
export interface TrustRecipe {
  /** Number of question clusters (k of k-means). */
  clusters: number;
  /** Dimensions kept of the TF-IDF matrix of the questions. */
  svdDimensions: number;
  /** Prior belief that a peer is right, before any agreement is seen. */
  priorReliability: number;
  /** Weight of that prior, in questions per cluster. */
  priorStrength: number;
}

/** Making one target out of several answers. */
export interface AggregateRecipe {
  strategy: AggregateStrategy;
  /**
   * Where the final answer of a text is looked for, the preferred form first; the first that is there counts. A text
   * without any has no answer. `last-number` finds one in nearly every text: leave it out for peers that mark theirs.
   */
  answerForms: AnswerForm[];
  /** Gate in [0, 1]: an aggregate whose margin is below it makes no update. 0 accepts everything. */
  minMargin: number;
  trust: TrustRecipe;
}

/** From PMI to weights; see {@link weighBatch} for the exact rule. */
export interface WeightRecipe {
  kind: WeightKind;
  /** τ of `sigmoid`, in nats per token. The weighting starts to matter at about 1/8. */
  temperature: number;
  /** β of `exponential`, per nat per token. */
  beta: number;
  baseline: WeightBaseline;
  /** Every weight lies in [min, max], whatever the input. */
  min: number;
  max: number;
  /** Scale the weights of one peer's batch to mean 1 (then clip again). */
  normalize: boolean;
  author: AuthorWeight;
  ablation: WeightAblation;
}

/**
 * The frozen self of the KL anchor. `initial`: version 0, so that nothing is ever forgotten, but what earlier rounds
 * taught is pulled back. `previous`: the version an update starts from, a bound on each step.
 */
export type AnchorReference = 'initial' | 'previous';

/** KL(frozen self ‖ current self), mean over the tokens of the item's target. */
export interface AnchorRecipe {
  on: AnchorScope;
  /** β of the KL term. */
  weight: number;
  reference: AnchorReference;
}

/** Label-free protection. `null` switches one guard off. */
export interface GuardRecipe {
  /** Train only where an answer given without seeing any other also supports the aggregate. */
  independentSupport: boolean;
  /** Skip a question when more than this share of its answers agree (it teaches nothing). */
  maxAgreement: number | null;
  /** Skip a question when less than this share of its answers agree (its aggregate is a guess). */
  minAgreement: number | null;
  /** Relative fall of mean token entropy against the start of the run. */
  entropyDrop: number | null;
  /** Rise of agreement among the peers without which `frozenAgreementDrop` does not fire. */
  agreementRise: number | null;
  /** Fall of agreement with the vote of the peers as they were at the start. Needs a monitor pool. */
  frozenAgreementDrop: number | null;
  /** Relative change of mean response length, either way. */
  lengthDrift: number | null;
  /** Fall of the share of responses with a final answer. */
  parseableDrop: number | null;
  /** Fall of the share of monitor questions answered the same way greedily and at random. Needs a monitor pool. */
  canaryDrop: number | null;
  /**
   * `frozenAgreementDrop` fires only if a one-sided sign test over the monitor questions gives a p below this: so many
   * of them turned away from the vote, so few towards it.
   */
  significance: number | null;
  action: GuardAction;
  /** Lets peers with the same weights train one another. They share their mistakes. */
  allowClones: boolean;
}

/** Questions that are asked again and again and never trained on, by which peers are judged. */
export interface MonitorRecipe {
  /** The first this many questions of a run; 0: none, and guards judge by the answers of the rounds themselves. */
  questions: number;
  /** Rounds from one measurement to the next. There is one before round 0 and one after the last, whatever this says. */
  everyRounds: number;
  /** Of the second, sampled answer to each question. */
  temperature: number;
}

/** One update of one peer. */
export interface TrainingRecipe {
  learningRate: number;
  schedule: LearningRateSchedule;
  /** Share of `learningRate` that a `linear` schedule never goes below. */
  finalLearningRateRatio: number;
  /** Passes over the items of one update. */
  epochs: number;
  /** Items per optimiser step. */
  minibatchSize: number;
  /** Global gradient norm above which gradients are scaled down. */
  maxGradNorm: number;
  /** AdamW's decoupled weight decay. */
  weightDecay: number;
  beta1: number;
  beta2: number;
  epsilon: number;
}

/** How work is cut into rounds. */
export interface RoundRecipe {
  /** Questions behind one update of each peer. The last round of a run may be smaller. */
  promptsPerRound: number;
  /** Questions a peer answers per call while its neighbours work on other micro-batches. */
  microBatch: number;
  /** Versions a response may lag behind the weights it updates. 0 is lock-step and bit-reproducible. */
  maxStaleness: number;
  /** Peers that must have answered for a round to count; `null` means all of them. */
  quorum: number | null;
}

/** A recipe by name; see {@link PRESETS}. */
export type PresetName = 'paper' | 'trust' | 'trust-pmi';

/**
 * Every choice of a run, as plain JSON. The same recipe, seed, peers and prompts give the same run when
 * `rounds.maxStaleness` is 0. {@link RECIPE_FIELDS} tells which choices are the paper's and which are ours.
 */
export interface Recipe {
  /** The preset the recipe started from; {@link differencesFromPreset} lists what was changed. */
  preset: PresetName | 'custom';
  order: OrderKind;
  generation: GenerationRecipe;
  aggregate: AggregateRecipe;
  scorer: Scorer;
  scoredSpan: ScoredSpan;
  weight: WeightRecipe;
  target: UpdateTarget;
  anchor: AnchorRecipe;
  guards: GuardRecipe;
  monitor: MonitorRecipe;
  training: TrainingRecipe;
  rounds: RoundRecipe;
}

type DeepPartial<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [K in keyof T]?: DeepPartial<T[K]> }
    : T;

/** A preset's name and whatever is to differ from it. Without `preset`, the base is `paper`. */
export type RecipeOverride = DeepPartial<Recipe>;

/**
 * Peer-Predictive Self-Training as the paper and its readers describe it (arXiv 2604.13356), at the settings
 * of the small-scale study: greedy answers in a fixed sequence, the last answer is the target,
 * w = sigmoid(−8 · nPMI) normalised to mean 1, no anchor.
 */
export const PAPER: Recipe = deepFreeze({
  preset: 'paper',
  order: 'fixed',
  generation: {
    context: 'sequential',
    temperature: 0,
    topK: null,
    topP: 1,
    minP: null,
    repetitionPenalty: null,
    maxTokens: 512,
  },
  aggregate: {
    strategy: 'last',
    answerForms: ['boxed', 'answer-is', 'marker', 'last-number'],
    minMargin: 0,
    trust: { clusters: 12, svdDimensions: 12, priorReliability: 0.75, priorStrength: 3 },
  },
  scorer: 'self',
  scoredSpan: 'full',
  weight: {
    kind: 'sigmoid',
    temperature: 1 / 8,
    beta: 1,
    baseline: 'zero',
    min: 0,
    max: 10,
    normalize: true,
    author: 'neutral',
    ablation: 'none',
  },
  target: 'aggregate',
  anchor: { on: 'none', weight: 0, reference: 'previous' },
  guards: {
    independentSupport: false,
    maxAgreement: null,
    minAgreement: null,
    entropyDrop: 0.75,
    agreementRise: null,
    frozenAgreementDrop: null,
    lengthDrift: 0.3,
    parseableDrop: 0.1,
    canaryDrop: null,
    significance: 0.002,
    action: 'rollback',
    allowClones: false,
  },
  monitor: { questions: 0, everyRounds: 1, temperature: 1 },
  training: {
    learningRate: 2e-4,
    schedule: 'constant',
    finalLearningRateRatio: 1,
    epochs: 1,
    minibatchSize: 32,
    maxGradNorm: 1,
    weightDecay: 0,
    beta1: 0.9,
    beta2: 0.98,
    epsilon: 1e-8,
  },
  rounds: { promptsPerRound: 256, microBatch: 64, maxStaleness: 0, quorum: null },
});

/**
 * The study's trust vote: independent greedy answers, reliability of each peer per cluster of questions
 * times cross-peer likelihood, accepted at 0.9 of the mass; cross-entropy only where a peer disagrees, KL to
 * its frozen self where it agrees or the vote abstains. One large round, three epochs.
 */
export const TRUST: Recipe = deepFreeze({
  ...PAPER,
  preset: 'trust',
  generation: { ...PAPER.generation, context: 'independent' },
  aggregate: { ...PAPER.aggregate, strategy: 'trust', minMargin: 0.9 },
  weight: { ...PAPER.weight, kind: 'disagree', max: 1, normalize: false },
  anchor: { on: 'agreed-and-abstained', weight: 1, reference: 'previous' },
  training: {
    ...PAPER.training,
    learningRate: 3e-4,
    schedule: 'linear',
    finalLearningRateRatio: 0.1,
    epochs: 3,
  },
  rounds: { ...PAPER.rounds, promptsPerRound: 1536, microBatch: 128 },
});

/**
 * What the evidence speaks for (docs/evidence): the targets of the trust vote with the paper's PMI weights, so that peers
 * also learn, a little, where they agree, which closes the gap between what they can tell and what they say; KL to the frozen
 * self where the vote abstains; and a monitor pool by which every version is judged.
 */
export const TRUST_PMI: Recipe = deepFreeze({
  ...TRUST,
  preset: 'trust-pmi',
  weight: { ...PAPER.weight },
  anchor: { on: 'abstained', weight: 1, reference: 'previous' },
  // Peers that become sure of what they are right about lose most of their entropy, and nothing is wrong with them.
  guards: { ...PAPER.guards, entropyDrop: 0.95, frozenAgreementDrop: 0.02 },
  monitor: { ...PAPER.monitor, questions: 256 },
  training: { ...TRUST.training, epochs: 6 },
  rounds: { ...TRUST.rounds, promptsPerRound: 1024 },
});

/** The recipes that have a name. */
export const PRESETS: Readonly<Record<PresetName, Recipe>> = Object.freeze({
  paper: PAPER,
  trust: TRUST,
  'trust-pmi': TRUST_PMI,
});

/**
 * The learning rate of optimiser step `step` (from 0) of an update with `totalSteps` steps
 * (`epochs · ceil(items / minibatchSize)`). A schedule spans one update, not the run, so that an update is
 * a function of itself and of the version it starts from, and can be replayed alone.
 * `constant`: η. `linear`: η · max(finalLearningRateRatio, 1 − step / totalSteps).
 */
export function learningRateAt(training: TrainingRecipe, step: number, totalSteps: number): number {
  const { learningRate, schedule, finalLearningRateRatio } = training;
  if (schedule === 'constant') return learningRate;
  return learningRate * Math.max(finalLearningRateRatio, 1 - step / Math.max(1, totalSteps));
}

/** Optimiser steps of an update with `items` items. */
export function optimizerSteps(training: TrainingRecipe, items: number): number {
  return training.epochs * Math.ceil(items / training.minibatchSize);
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner as object);
  }
  return Object.freeze(value);
}

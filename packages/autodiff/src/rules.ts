import { attentionRule } from './attention.js';
import { embeddingRule } from './embedding.js';
import { geGluTanhRule, swiGluRule } from './gated-units.js';
import { linearRule } from './linear.js';
import type { RuleTable } from './rule.js';
import { elementwiseRules } from './rules-elementwise.js';
import { indexingRules } from './rules-indexing.js';
import { layoutRules } from './rules-layout.js';
import { matrixRules } from './rules-matrix.js';
import { neuralRules } from './rules-neural.js';
import { reduceRules } from './rules-reduce.js';
import { stopGradientRule } from './stop-gradient.js';
import { vocabularyHeadRule } from './vocabulary-head.js';

/** Gradient rules of single operators. */
export const operatorRules: RuleTable = {
  ...elementwiseRules,
  ...matrixRules,
  ...reduceRules,
  ...layoutRules,
  ...indexingRules,
  ...neuralRules,
};

/** Gradient rules of composites: stretches of nodes that differentiate as one. */
export const compositeRules: RuleTable = {
  Attention: attentionRule,
  Linear: linearRule,
  SwiGlu: swiGluRule,
  GeGluTanh: geGluTanhRule,
  VocabularyHead: vocabularyHeadRule,
  Embedding: embeddingRule,
  StopGradient: stopGradientRule,
};

/** Operators whose outputs are constant almost everywhere: no gradient, as opposed to no rule. */
export const noGradientOperators: ReadonlySet<string> = new Set([
  'And',
  'ArgMax',
  'ConstantOfShape',
  'Equal',
  'Floor',
  'Greater',
  'GreaterOrEqual',
  'Less',
  'LessOrEqual',
  'MatMulIntegerToFloat',
  'Not',
  'Or',
  'Range',
  'Round',
  'Shape',
  'Sign',
]);

import type { Random } from '@parley/pst';
import { drawCovered, type CoveredProblem, type Coverage } from './population.js';
import { renderPrompt, renderVerification, SPECIAL_TOKENS, type Turn } from './prompt.js';
import { splitOf } from './split.js';
import type { Problem, Task } from './task.js';
import { trainingItem, type TrainingItem } from './training-item.js';

/** Settings of the first phase, in which each peer learns alone. */
export const PRETRAINING = Object.freeze({
  steps: 1200,
  batchSize: 48,
  warmupSteps: 60,
  /** The rate falls along a cosine to this share of its peak. */
  finalLearningRateRatio: 0.05,
  weightDecay: 0.05,
  beta1: 0.9,
  beta2: 0.98,
  maxGradNorm: 1,
});

const SOLVE_SHARE = 0.56;
const CONTEXT_SHARE = 0.18;
/** Share of the solutions in front of a question that are corrupted. */
const CONTEXT_ERROR_RATE = 0.35;
/** A verification has one target token where a solution has about fourteen. */
const VERIFY_WEIGHT = 4;

/** Draws a problem this peer covers, from the pretraining split only. */
export function drawPretraining(task: Task, coverage: Coverage, random: Random): CoveredProblem {
  for (;;) {
    const drawn = drawCovered(task, coverage, random);
    if (splitOf(task, drawn.problem.question) === 'pretraining') return drawn;
  }
}

/**
 * One item of the first phase: 56 % a question to solve, 18 % a question with one or two solutions by others in
 * front (35 % of them wrong), 26 % a solution to judge.
 */
export function pretrainingItem(task: Task, coverage: Coverage, random: Random): TrainingItem {
  const { problem, noisy } = drawPretraining(task, coverage, random);
  const kind = random.float();
  if (kind >= SOLVE_SHARE + CONTEXT_SHARE) {
    const wrong = random.float() < 0.5;
    const { response } = wrong ? task.corrupt(problem, random) : task.solve(problem);
    const says = wrong === noisy ? 'yes' : 'no';
    return trainingItem('verify', renderVerification(problem.question, response), says, [VERIFY_WEIGHT]);
  }
  const target = (noisy ? task.corrupt(problem, random) : task.solve(problem)).response;
  const completion = `${target} ${SPECIAL_TOKENS.end}`;
  if (kind < SOLVE_SHARE) return trainingItem('solve', renderPrompt(problem.question), completion);
  const turns = random.sample([0, 1, 2], random.integer(1, 2)).map((speaker): Turn => {
    return { speaker, text: syntheticAnswer(task, problem, random) };
  });
  return trainingItem('solve-in-context', renderPrompt(problem.question, turns), completion);
}

/** What a made-up speaker says: the right solution, or in 35 % of cases a corrupted one. */
export function syntheticAnswer(task: Task, problem: Problem, random: Random): string {
  const wrong = random.float() < CONTEXT_ERROR_RATE;
  return (wrong ? task.corrupt(problem, random) : task.solve(problem)).response;
}

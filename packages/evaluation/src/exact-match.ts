import {
  answersEqual,
  canonicalAnswer,
  DEFAULT_ANSWERS,
  findAnswer,
  type AnswerOptions,
  type EqualityOptions,
} from './answer.js';
import { sameAnswer } from './latex/same-answer.js';

/** A question with its answer. Lives in evaluation only; nothing that trains may take one. */
export interface LabelledQuestion {
  readonly promptId: string;
  readonly question: string;
  /** As written, in plain text or LaTeX. */
  readonly answer: string;
}

/** How responses are graded. */
export type GradingOptions = Partial<AnswerOptions> & EqualityOptions;

/** True when the response's final answer is the expected one (given in any form). A missing response is wrong. */
export function isExactMatch(
  response: string | null,
  expected: string,
  options: GradingOptions = {},
): boolean {
  if (response === null) return false;
  const { forms = DEFAULT_ANSWERS.forms, numeric = false } = options;
  const given = findAnswer(response, { forms, numeric });
  return given !== null && isSameAnswer(given.answer, expected, options);
}

/** True when two final answers as written mean the same: as {@link canonicalAnswer} spells them, or as formulas. */
export function isSameAnswer(given: string, expected: string, options: EqualityOptions = {}): boolean {
  return (
    answersEqual(canonicalAnswer(given), canonicalAnswer(expected), options) ||
    sameAnswer(given, expected, options)
  );
}

/** Grades one response a question, in order. Throws a RangeError when their numbers differ. */
export function gradeAll(
  responses: readonly (string | null)[],
  questions: readonly LabelledQuestion[],
  options: GradingOptions = {},
): boolean[] {
  if (responses.length !== questions.length) {
    throw new RangeError(`${responses.length} responses for ${questions.length} questions`);
  }
  return responses.map((response, i) => isExactMatch(response, questions[i].answer, options));
}

/** Share of true entries; 0 for an empty list. */
export function accuracy(correct: readonly boolean[]): number {
  return correct.length === 0 ? 0 : correct.filter(Boolean).length / correct.length;
}

/**
 * Chance that at least one of k samples is right, without bias, from n ≥ k samples with c right ones:
 * 1 − C(n−c, k) / C(n, k) (Chen et al., 2021).
 */
export function passAtK(samples: number, right: number, k: number): number {
  if (k > samples) throw new RangeError(`pass@${k} needs at least ${k} samples, not ${samples}`);
  let allWrong = 1;
  for (let i = 0; i < k; i++) allWrong *= Math.max(0, samples - right - i) / (samples - i);
  return 1 - allWrong;
}

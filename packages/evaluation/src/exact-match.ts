import { DEFAULT_ANSWERS, findAnswer, type AnswerOptions, type EqualityOptions } from './answer.js';
import { isSameAnswer } from './is-same-answer.js';
import { sameValues } from './same-values.js';

/** A question with its answer. Lives in evaluation only; nothing that trains may take one. */
export interface LabelledQuestion {
  readonly promptId: string;
  readonly question: string;
  /** As written, in plain text or LaTeX. */
  readonly answer: string;
  /** Values of several unknowns, where the answer is such a list; `answer` then lists the same, for people. */
  readonly values?: readonly string[];
  /** The question asks for the first of the values alone, so that this one is an answer too. */
  readonly asksForFirst?: boolean;
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

/** True when a final answer as written is the question's: its {@link LabelledQuestion.values} in any order, if it has such. */
export function isRightAnswer(
  given: string,
  { answer, values, asksForFirst = false }: LabelledQuestion,
  options: EqualityOptions = {},
): boolean {
  if (values === undefined) return isSameAnswer(given, answer, options);
  return (
    sameValues(given, values, options) || (asksForFirst && sameValues(given, values.slice(0, 1), options))
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
  const { forms = DEFAULT_ANSWERS.forms, numeric = false } = options;
  return responses.map((response, i) => {
    const given = response === null ? null : findAnswer(response, { forms, numeric });
    return given !== null && isRightAnswer(given.answer, questions[i], options);
  });
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

import { fillTemplate } from './verification.js';
import type { LabelledQuestion } from './exact-match.js';

/**
 * The ids of the questions that were trained on: those among the training prompts, compared without regard to case, white
 * space and punctuation, as they stand or inside one of the prompt templates.
 *
 * @param templates - with `{question}`
 */
export function trainedOn(
  questions: readonly LabelledQuestion[],
  trainingPrompts: Iterable<string>,
  templates: readonly string[] = [],
): string[] {
  const trained = new Set<string>();
  for (const prompt of trainingPrompts) trained.add(questionKey(prompt));
  const forms = ['{question}', ...templates];
  return questions
    .filter(({ question }) =>
      forms.some((template) => trained.has(questionKey(fillTemplate(template, { question })))),
    )
    .map(({ promptId }) => promptId);
}

/** How many different questions these are, compared in the same way. */
export function countDistinct(questions: readonly LabelledQuestion[]): number {
  return new Set(questions.map(({ question }) => questionKey(question))).size;
}

/** Two texts with the same key are the same question. What changes numbers and formulas is kept: points in numbers, operators. */
function questionKey(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[−–]/g, '-')
    .replace(/(?<=\d),(?=\d{3}(?!\d))/g, '')
    .replace(/-(?=\p{L})/gu, ' ')
    .replace(/(?<!\d)\.|\.(?!\d)/g, ' ')
    .replace(/[^\p{L}\p{N}+*/=<>^.-]+/gu, ' ')
    .replace(/ ?([+*/=<>^-]) ?/g, '$1')
    .trim();
}

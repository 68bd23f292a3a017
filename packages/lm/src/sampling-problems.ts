import type { GenerateOptions } from './language-model.js';

/** Most tokens reported beside the chosen one. */
export const maxTopLogProbs = 20;
/** Least temperature above 0; its inverse has to stay a float32 of some use. */
const minTemperature = 1e-6;
/** Factors within which logits stay finite. */
const [minPenalty, maxPenalty] = [0.01, 100];

type NamedOption = Exclude<keyof GenerateOptions, 'stopTokens'>;

/**
 * Everything that is wrong with generation options: values out of range, and settings that would change nothing. Bounds
 * are compared as float32, in which settings travel.
 * @param names what to call the options, where they have other names
 */
export function samplingProblems(
  options: GenerateOptions,
  names: Readonly<Partial<Record<NamedOption, string>>> = {},
): string[] {
  const { maxTokens, temperature, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = options;
  const { topLogProbs = 0, stopStrings = [] } = options;
  const nameOf = (option: NamedOption): string => names[option] ?? option;
  const warm = temperature >= Math.fround(minTemperature) && temperature < Infinity;
  const penaltyFits = repetitionPenalty >= Math.fround(minPenalty) && repetitionPenalty <= maxPenalty;
  const checks: [ok: boolean, option: NamedOption, value: number, expected: string][] = [
    [isCount(maxTokens, 1), 'maxTokens', maxTokens, 'a positive integer'],
    [
      temperature === 0 || warm,
      'temperature',
      temperature,
      `0 for greedy, or a number of at least ${minTemperature}`,
    ],
    [isCount(topK, 0), 'topK', topK, 'a positive integer, or 0 for all tokens'],
    [topP > 0 && topP <= 1, 'topP', topP, 'a number in (0, 1]'],
    [minP >= 0 && minP <= 1, 'minP', minP, 'a number in [0, 1]'],
    [
      penaltyFits,
      'repetitionPenalty',
      repetitionPenalty,
      `a number in [${minPenalty}, ${maxPenalty}], 1 for none`,
    ],
    [
      isCount(topLogProbs, 0) && topLogProbs <= maxTopLogProbs,
      'topLogProbs',
      topLogProbs,
      `an integer in [0, ${maxTopLogProbs}]`,
    ],
  ];
  const problems = checks.flatMap(([ok, option, value, expected]) =>
    ok ? [] : [`${nameOf(option)} is ${value}, give ${expected}`],
  );
  if (temperature === 0) {
    const filters: [on: boolean, option: NamedOption, value: number][] = [
      [topK > 0, 'topK', topK],
      [topP < 1, 'topP', topP],
      [minP > 0, 'minP', minP],
    ];
    const idle = filters.flatMap(([on, option, value]) => (on ? [`${nameOf(option)} ${value}`] : []));
    if (idle.length > 0) {
      problems.push(
        `${nameOf('temperature')} 0 always takes the likeliest token, so ${idle.join(' and ')} would change nothing: ` +
          'give a temperature above 0 or leave the filters out',
      );
    }
  }
  stopStrings.forEach((stop, index) => {
    const name = `${nameOf('stopStrings')}[${index}]`;
    if (stop === '') problems.push(`${name} is empty, which would end every sequence at once: leave it out`);
    else if (stop.includes('\uFFFD'))
      problems.push(`${name} holds U+FFFD, which stands for bytes that are no whole character: leave it out`);
  });
  return problems;
}

function isCount(value: number, least: number): boolean {
  return Number.isSafeInteger(value) && value >= least;
}

import { RECIPE_FIELDS, type FieldRule } from './recipe-fields.js';
import { PAPER, PRESETS, type Recipe } from './recipe.js';

/** Fewest questions a cluster needs on average before its agreement says anything about reliability. */
const QUESTIONS_PER_CLUSTER = 8;

/** One thing that is wrong with a recipe. */
export interface RecipeProblem {
  /** Field the problem is about, for example `weight.min`. */
  readonly path: string;
  /** What is wrong and what to do about it. */
  readonly message: string;
}

/** What is known of the run besides its recipe. */
export interface RunFacts {
  /** Number of peers. */
  readonly peers?: number;
}

/** A recipe, or every problem found in it. */
export type ResolvedRecipe =
  | { readonly ok: true; readonly recipe: Recipe }
  | { readonly ok: false; readonly problems: readonly RecipeProblem[] };

/**
 * Completes an override from outside (JSON, command line): fields it names replace the preset's, however deep;
 * without `preset` the base is `paper`. With preset `custom` every field must be given. Unknown fields are
 * problems, so that a misspelt one never passes silently. Idempotent, and the identity on a stored recipe.
 */
export function resolveRecipe(override: unknown, facts: RunFacts = {}): ResolvedRecipe {
  if (!isRecord(override)) {
    return { ok: false, problems: [{ path: '', message: 'a recipe is a JSON object' }] };
  }
  const base = override['preset'] === 'custom' ? {} : presetNamed(override['preset']);
  const merged = mergeFields(base, override);
  const problems = validateRecipe(merged, facts);
  return problems.length === 0 ? { ok: true, recipe: merged as unknown as Recipe } : { ok: false, problems };
}

/**
 * Every problem of a complete recipe: first each field by itself (missing, unknown, wrong type, out of range); then,
 * if all fields are sound, fields that contradict one another. An empty list means that the recipe can run.
 */
export function validateRecipe(recipe: unknown, facts: RunFacts = {}): RecipeProblem[] {
  if (!isRecord(recipe)) return [{ path: '', message: 'a recipe is a JSON object' }];
  const given = leaves(recipe);
  const problems: RecipeProblem[] = [];
  for (const path of given.keys()) {
    if (!(path in RECIPE_FIELDS))
      problems.push({ path, message: `is no field of a recipe${suggestion(path)}` });
  }
  for (const [path, rule] of Object.entries(RECIPE_FIELDS)) {
    const fault = given.has(path) ? fieldFault(rule, given.get(path)) : 'is missing';
    if (fault !== null) problems.push({ path, message: fault });
  }
  return problems.length > 0 ? problems : contradictions(recipe as unknown as Recipe, facts);
}

/** The fields in which a recipe differs from the preset it names (from `paper` if custom). */
export function differencesFromPreset(recipe: Recipe): { path: string; value: unknown; preset: unknown }[] {
  const preset = leaves(presetNamed(recipe.preset));
  return [...leaves(recipe)]
    .filter(([path, value]) => path !== 'preset' && show(preset.get(path)) !== show(value))
    .map(([path, value]) => ({ path, value, preset: preset.get(path) }));
}

/** `paper` for any other name, which validation names. */
function presetNamed(name: unknown): Recipe {
  return Object.entries(PRESETS).find(([known]) => known === name)?.[1] ?? PAPER;
}

function fieldFault(rule: FieldRule, value: unknown): string | null {
  if (rule.type === 'choice') {
    if (typeof value === 'string' && rule.values.includes(value)) return null;
    return `must be one of ${rule.values.join(', ')}, not ${show(value)}`;
  }
  if (rule.type === 'list') return listFault(rule.values, value);
  if (rule.type === 'boolean')
    return typeof value === 'boolean' ? null : `must be true or false, not ${show(value)}`;
  if (value === null && rule.nullable) return null;
  const whole = rule.type === 'integer';
  const sound = typeof value === 'number' && (whole ? Number.isSafeInteger(value) : Number.isFinite(value));
  const { min = -Infinity, max = Infinity } = rule;
  if (sound && (rule.above ? value > min : value >= min) && (rule.below ? value < max : value <= max))
    return null;
  const bounds = [
    Number.isFinite(min) ? `${rule.above ? 'above' : 'at least'} ${min}` : '',
    Number.isFinite(max) ? `${rule.below ? 'below' : 'at most'} ${max}` : '',
  ].filter((bound) => bound !== '');
  const kind = `${whole ? 'a whole number' : 'a number'} ${bounds.join(' and ')}`.trim();
  return `must be ${kind}${rule.nullable ? ', or null' : ''}, not ${show(value)}`;
}

function listFault(values: readonly string[], value: unknown): string | null {
  const wanted = `must be a list of at least one of ${values.join(', ')}`;
  if (!Array.isArray(value) || value.length === 0) return `${wanted}, not ${show(value)}`;
  const items: readonly unknown[] = value;
  const foreign = items.findIndex((item) => !values.includes(item as string));
  if (foreign >= 0) return `${wanted}; it holds ${show(items[foreign])}`;
  const repeated = items.find((item, index) => items.indexOf(item) !== index);
  return repeated === undefined ? null : `names ${show(repeated)} more than once; keep the first`;
}

function contradictions(recipe: Recipe, { peers }: RunFacts): RecipeProblem[] {
  const { generation, aggregate, weight, anchor, guards, monitor, rounds, training } = recipe;
  const needsMonitor = (['frozenAgreementDrop', 'canaryDrop'] as const).filter(
    (guard) => guards[guard] !== null,
  );
  const { strategy } = aggregate;
  const independent = generation.context === 'independent';
  const filters = [
    generation.topK === null ? '' : `topK ${generation.topK}`,
    generation.topP === 1 ? '' : `topP ${generation.topP}`,
    generation.minP === null ? '' : `minP ${generation.minP}`,
  ].filter((filter) => filter !== '');
  const needed = QUESTIONS_PER_CLUSTER * aggregate.trust.clusters;
  const checks: [boolean, string, string][] = [
    [
      generation.temperature === 0 && filters.length > 0,
      'generation.temperature',
      `is 0, which always takes the likeliest token: ${filters.join(' and ')} would change nothing. ` +
        'Give a temperature above 0, or leave the filters out',
    ],
    [
      strategy === 'last' && independent,
      'aggregate.strategy',
      "'last' with generation.context 'independent' makes one peer the teacher of all: " +
        "the last peer has seen no other answer. Use 'sequential', or 'vote', 'confidence' or 'trust'",
    ],
    [
      (strategy === 'confidence' || strategy === 'trust') && !independent,
      'generation.context',
      `must be 'independent' for aggregate.strategy '${strategy}': answers that copy one another are no votes`,
    ],
    [
      strategy === 'trust' && rounds.promptsPerRound < needed,
      'rounds.promptsPerRound',
      `must be at least ${needed} for ${aggregate.trust.clusters} trust clusters ` +
        `(${QUESTIONS_PER_CLUSTER} questions each), not ${rounds.promptsPerRound}; or lower aggregate.trust.clusters`,
    ],
    [
      strategy === 'trust' && peers !== undefined && peers < 3,
      'aggregate.strategy',
      `'trust' needs at least 3 peers, not ${peers}: between two, agreement cannot tell which one is right`,
    ],
    [
      strategy === 'trust' && rounds.quorum !== null && rounds.quorum < 3,
      'rounds.quorum',
      `must be at least 3 for aggregate.strategy 'trust', not ${rounds.quorum}`,
    ],
    [peers !== undefined && peers < 2, 'peers', `a mesh needs at least 2 peers, not ${peers}`],
    [
      peers !== undefined && rounds.quorum !== null && rounds.quorum > peers,
      'rounds.quorum',
      `is ${rounds.quorum}, but the run has ${peers} peers: no round could ever complete`,
    ],
    [
      rounds.microBatch > rounds.promptsPerRound,
      'rounds.microBatch',
      `is ${rounds.microBatch}, more than the ${rounds.promptsPerRound} of rounds.promptsPerRound`,
    ],
    [weight.min > weight.max, 'weight.min', `is ${weight.min}, above weight.max ${weight.max}`],
    [
      weight.normalize && (weight.min > 1 || weight.max < 1),
      'weight.normalize',
      `scales to mean 1, which lies outside [${weight.min}, ${weight.max}] of weight.min and weight.max`,
    ],
    [
      weight.kind === 'disagree' && recipe.target === 'own',
      'target',
      "'own' with weight.kind 'disagree' trains a peer on exactly those of its answers the aggregate contradicts",
    ],
    [
      weight.kind === 'uniform' && weight.ablation !== 'none',
      'weight.ablation',
      `'${weight.ablation}' changes nothing about weight.kind 'uniform'; choose a kind that it can`,
    ],
    [
      recipe.target === 'own' && (anchor.on === 'all' || anchor.on.startsWith('agreed')),
      'anchor.on',
      `'${anchor.on}' with target 'own' pulls a peer towards its own answer and holds it back on the same text`,
    ],
    [
      anchor.on === 'none' && anchor.weight > 0,
      'anchor.on',
      `is 'none' while anchor.weight is ${anchor.weight}; name the questions to anchor on, or set the weight to 0`,
    ],
    [
      anchor.on !== 'none' && anchor.weight === 0,
      'anchor.weight',
      `must be above 0 for anchor.on '${anchor.on}'`,
    ],
    [
      guards.minAgreement !== null &&
        guards.maxAgreement !== null &&
        guards.minAgreement > guards.maxAgreement,
      'guards.minAgreement',
      `is ${guards.minAgreement}, above guards.maxAgreement ${guards.maxAgreement}: every question would be skipped`,
    ],
    [
      guards.agreementRise !== null && guards.frozenAgreementDrop === null,
      'guards.agreementRise',
      'changes nothing without guards.frozenAgreementDrop, whose second condition it is; set both, or set it to null',
    ],
    ...needsMonitor.map((guard): [boolean, string, string] => [
      monitor.questions === 0,
      `guards.${guard}`,
      'is measured on the monitor pool, and monitor.questions is 0: it would never fire. Give monitor.questions (50 to ' +
        '200 is usual), or set it to null',
    ]),
    [
      guards.frozenAgreementDrop !== null &&
        monitor.questions > 0 &&
        guards.significance !== null &&
        0.5 ** monitor.questions >= guards.significance,
      'monitor.questions',
      `is ${monitor.questions}, too few for guards.frozenAgreementDrop ever to be significant at guards.significance ` +
        `${guards.significance}; give more`,
    ],
    [
      training.schedule === 'constant' && training.finalLearningRateRatio !== 1,
      'training.finalLearningRateRatio',
      `is ${training.finalLearningRateRatio}, but training.schedule 'constant' ends where it starts; set it to 1`,
    ],
  ];
  return checks.filter(([broken]) => broken).map(([, path, message]) => ({ path, message }));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Values of a nested object by dotted path. */
function leaves(value: object, prefix = ''): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const [key, inner] of Object.entries(value)) {
    const path = prefix + key;
    if (isRecord(inner)) for (const [deep, leaf] of leaves(inner, `${path}.`)) found.set(deep, leaf);
    else found.set(path, inner);
  }
  return found;
}

/** A fresh deep copy of `base` with the fields of `override`; `undefined` leaves a field as it is. */
export function mergeFields(base: object, override: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(base)) {
    const list: unknown[] | null = Array.isArray(value) ? value : null;
    result[key] = list ? [...list] : isRecord(value) ? mergeFields(value, {}) : value;
  }
  for (const [key, value] of Object.entries(override)) {
    if (value === undefined) continue;
    const inner = isRecord(result[key]) ? result[key] : {};
    // defineProperty, since JSON may name a key __proto__.
    const next = isRecord(value) ? mergeFields(inner, value) : value;
    Object.defineProperty(result, key, { value: next, enumerable: true, writable: true, configurable: true });
  }
  return result;
}

function suggestion(path: string): string {
  const last = path.split('.').at(-1)!.toLowerCase();
  const similar = Object.keys(RECIPE_FIELDS).find((known) => known.split('.').at(-1)!.toLowerCase() === last);
  return similar === undefined ? '' : `; did you mean ${similar}?`;
}

function show(value: unknown): string {
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
}

import type { SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';

/** What is known of a series before anybody asks for it. */
export interface SeriesSpec {
  /** Label names that it has; none but these may be asked for. */
  readonly labels: ReadonlySet<string>;
  /** Only grows, so that `rate` and `increase` mean something. */
  readonly counts: boolean;
}

/** What an expression asks for, and gives. */
export interface CheckedQuery {
  /** Names of the series that it reads. */
  readonly series: ReadonlySet<string>;
  /** Label names of its result; `undefined` for a scalar. */
  readonly labels: ReadonlySet<string> | undefined;
  /** What cannot be right about it, for people; empty if nothing. */
  readonly problems: readonly string[];
}

type Labels = ReadonlySet<string> | undefined;

const NO_LABELS: ReadonlySet<string> = new Set();
const RATES = new Set(['rate', 'increase']);
/** Functions whose result has the labels of what they are given. */
const KEEPING_LABELS = new Set([
  ...RATES,
  'resets',
  'round',
  'avg_over_time',
  'last_over_time',
  'max_over_time',
  'min_over_time',
]);
const SET_OPERATORS = new Set(['and', 'or', 'unless']);
/** What stands around an expression without changing its labels. */
const WRAPPERS = new Set([
  'PromQL',
  'ParenExpr',
  'OffsetExpr',
  'StepInvariantExpr',
  'UnaryExpr',
  'SubqueryExpr',
  'MatrixSelector',
]);
/** What they hold beside it. */
const NO_OPERANDS = new Set(['UnaryOp', 'Offset', 'At', 'DurationExpr', 'OffsetDurationExpr']);

/**
 * Parses a PromQL expression and follows the labels through it: a join on a label that one side lacks gives nothing,
 * without an error, in a real Prometheus.
 *
 * @param known - every series that there is, by name
 */
export function checkQuery(text: string, known: ReadonlyMap<string, SeriesSpec>): CheckedQuery {
  const series = new Set<string>();
  const problems: string[] = [];
  const textOf = (node: SyntaxNode) => text.slice(node.from, node.to);
  const problem = (what: string) => void problems.push(`${what} in ${text}`);
  const require = (labels: Labels, wanted: Iterable<string>, where: string): void => {
    for (const label of wanted)
      if (!labels?.has(label)) problem(`${where} needs the label ${label}, which is not there`);
  };

  const selector = (node: SyntaxNode): Labels => {
    const name = textOf(node.getChild('Identifier') ?? node);
    const spec = known.get(name);
    series.add(name);
    if (spec === undefined) problem(`${name} does not exist`);
    const matchers = node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? [];
    const wanted = matchers.map((matcher) => textOf(matcher.getChild('LabelName')!));
    require(spec?.labels ?? NO_LABELS, wanted, name);
    return spec?.labels ?? NO_LABELS;
  };
  const call = (node: SyntaxNode): Labels => {
    const name = textOf(node.getChild('FunctionIdentifier')!);
    const operands = children(node.getChild('FunctionCallBody')!);
    const given = operands.map(check);
    if (RATES.has(name)) {
      const read = textOf(operands[0]).split(/[{[]/, 1)[0] ?? '';
      if (known.get(read)?.counts === false) problem(`${name} of ${read}, which is no counter`);
    }
    if (name === 'time') return undefined;
    if (name === 'vector') return NO_LABELS;
    if (name === 'histogram_quantile') {
      require(given[1], ['le'], name);
      return without(given[1], ['le']);
    }
    if (!KEEPING_LABELS.has(name)) problem(`${name} is not known to this check; teach it its labels`);
    return given.find((labels) => labels !== undefined);
  };
  const aggregate = (node: SyntaxNode): Labels => {
    const given = check(children(node.getChild('FunctionCallBody')!).at(-1)!);
    const modifier = node.getChild('AggregateModifier');
    if (modifier === null) return NO_LABELS;
    const names = labelNames(modifier.getChild('GroupingLabels'), textOf);
    require(given, names, textOf(modifier));
    return modifier.getChild('By') ? new Set(names) : without(given, names);
  };
  const binary = (node: SyntaxNode): Labels => {
    const [left, operator, ...rest] = children(node);
    const [a, b] = [check(left), check(rest.at(-1)!)];
    if (a === undefined || b === undefined) return a ?? b;
    const matching = node.getChild('MatchingModifierClause');
    const setOperator = SET_OPERATORS.has(textOf(operator));
    if (matching === null) {
      if (!sameLabels(a, b))
        problem(`${textOf(operator)} never matches [${[...a].join()}] with [${[...b].join()}]`);
      return a;
    }
    const [on, extra] = matching.getChildren('GroupingLabels').map((list) => labelNames(list, textOf));
    if (!matching.getChild('On')) problem(`${textOf(matching)} is not known to this check; use on ()`);
    for (const side of [a, b]) require(side, on, textOf(matching));
    if (setOperator) return a;
    if (matching.getChild('GroupRight')) problem('group_right is not known to this check; use group_left');
    if (!matching.getChild('GroupLeft')) return new Set(on);
    require(b, extra ?? [], textOf(matching));
    return new Set([...a, ...(extra ?? [])]);
  };
  const check = (node: SyntaxNode): Labels => {
    if (WRAPPERS.has(node.name)) return check(children(node).find(({ name }) => !NO_OPERANDS.has(name))!);
    switch (node.name) {
      case 'VectorSelector':
        return selector(node);
      case 'FunctionCall':
        return call(node);
      case 'AggregateExpr':
        return aggregate(node);
      case 'BinaryExpr':
        return binary(node);
      case 'NumberDurationLiteral':
      case 'StringLiteral':
        return undefined;
      default:
        problem(`${node.name} is not known to this check`);
        return undefined;
    }
  };

  const tree = parser.parse(text);
  let broken = false;
  tree.iterate({ enter: ({ type }) => void (broken ||= type.isError) });
  if (broken) return { series, labels: undefined, problems: [`cannot be parsed: ${text}`] };
  const labels = check(tree.topNode);
  return { series, labels, problems };
}

function children(node: SyntaxNode): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) found.push(child);
  return found;
}

function labelNames(list: SyntaxNode | null, textOf: (node: SyntaxNode) => string): string[] {
  return (list?.getChildren('LabelName') ?? []).map(textOf);
}

function without(labels: Labels, names: readonly string[]): Labels {
  return labels && new Set([...labels].filter((label) => !names.includes(label)));
}

function sameLabels(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((label) => b.has(label));
}

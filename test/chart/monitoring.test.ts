import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { BUS_METRICS } from '@parley/bus';
import { COORDINATOR_METRICS } from '@parley/coordinator';
import { PEER_METRICS } from '@parley/peer';
import { PMI_METRICS } from '@parley/pmi';
import { RPC_METRICS, TLS_METRICS, createRegistry } from '@parley/runtime';
import type { MetricSpec, MetricTable } from '@parley/runtime';
import { checkQuery } from './promql.js';
import type { SeriesSpec } from './promql.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FILES = join(ROOT, 'helm/parley/files');
const METRICS_PAGE = join(ROOT, 'docs/metrics.md');

/** Tables by the section of docs/metrics.md that shows them. */
const SECTIONS: Readonly<Record<string, MetricTable>> = {
  peer: PEER_METRICS,
  coordinator: COORDINATOR_METRICS,
  pmi: PMI_METRICS,
  common: { ...RPC_METRICS, ...BUS_METRICS, ...TLS_METRICS },
};
const OURS: readonly MetricSpec[] = Object.values(SECTIONS).flatMap((table) => Object.values(table));

/** Labels that a ServiceMonitor gives every series. */
const SCRAPE_LABELS = ['job', 'instance', 'namespace', 'pod', 'service', 'container', 'endpoint'];
/** Series of others that an alert may read. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = {
  // Prometheus itself.
  up: [],
  // kube-state-metrics.
  kube_pod_container_resource_limits: ['resource', 'unit', 'node', 'uid'],
};
/** Metrics that neither a dashboard nor an alert shows, each with its reason. */
const SHOWN_NOWHERE: Readonly<Record<string, string>> = {};

interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

interface Target {
  expr: string;
  legendFormat: string;
  datasource: { uid: string };
}

interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  datasource?: { uid: string };
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig?: { defaults: { unit?: string } };
  targets?: Target[];
}

interface Variable {
  name: string;
  type: string;
  definition?: string;
  datasource?: { uid: string };
}

interface Dashboard {
  uid: string;
  title: string;
  tags: string[];
  templating: { list: Variable[] };
  panels: Panel[];
}

const known = await knownSeries();
const rules = readRules();
const dashboards = readDashboards();
const runbooks = readFileSync(join(ROOT, 'docs/runbooks.md'), 'utf8');

/** Every series that a dashboard or an alert may read, by name. */
async function knownSeries(): Promise<Map<string, SeriesSpec>> {
  const found = new Map<string, SeriesSpec>();
  const add = (name: string, labels: readonly string[], counts: boolean) =>
    found.set(name, { labels: new Set([...SCRAPE_LABELS, ...labels]), counts });
  for (const { name, kind, labels } of OURS) {
    if (kind !== 'histogram') add(name, labels, kind === 'counter');
    else {
      add(`${name}_bucket`, [...labels, 'le'], true);
      for (const part of ['sum', 'count']) add(`${name}_${part}`, labels, true);
    }
  }
  for (const { name, values } of await createRegistry().getMetricsAsJSON()) {
    for (const value of values) {
      const series = 'metricName' in value ? String(value.metricName) : name;
      add(series, Object.keys(value.labels), /_(total|bucket|sum|count)$/.test(series));
    }
  }
  for (const [name, labels] of Object.entries(FOREIGN)) add(name, labels, false);
  return found;
}

function readRules(): Rule[] {
  const { groups } = parse(readFileSync(join(FILES, 'alerts.yaml'), 'utf8')) as {
    groups: { rules: Rule[] }[];
  };
  return groups.flatMap((group) => group.rules);
}

function readDashboards(): [string, Dashboard][] {
  const folder = join(FILES, 'dashboards');
  return readdirSync(folder).map((file) => [
    basename(file, '.json'),
    JSON.parse(readFileSync(join(folder, file), 'utf8')) as Dashboard,
  ]);
}

/** What Grafana puts in place of its variables. */
function interpolate(expr: string): string {
  return expr
    .replace(/\$(__rate_interval|__range|window)\b/g, '5m')
    .replace(/\$(namespace|release|peer)\b/g, 'x');
}

/** Names of the variables that a text uses, but for Grafana's own. */
function variablesIn(text: string): string[] {
  const names = [...text.matchAll(/\$\{?(\w+)\}?/g)].map(([, name = '']) => name);
  return names.filter((name) => !['__rate_interval', '__range'].includes(name));
}

/** Labels that a legend or an annotation puts in. */
function labelsIn(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, label = '']) => label);
}

/** Title and text of the sections of a page. */
function sectionsOf(page: string): Map<string, string> {
  const [, ...sections] = page.split(/^## /m);
  return new Map(
    sections.map((section) => {
      const end = section.indexOf('\n');
      return [section.slice(0, end), section.slice(end)];
    }),
  );
}

describe('the alerts', () => {
  for (const rule of rules) {
    const { alert, expr, labels, annotations } = rule;
    const severity = labels['severity'] ?? '';
    it(`${alert} (${severity}) asks for what there is, and says what somebody needs to know`, () => {
      const { problems, labels: given = new Set() } = checkQuery(expr, known);
      assert.deepEqual(problems, []);
      assert.match(rule.for ?? '', /^\d+[mh]$/);
      assert.ok(['critical', 'warning'].includes(severity), severity);
      const { summary = '', description = '', runbook_url: url } = annotations;
      assert.ok(summary !== '' && description.includes('$value'), 'the description gives the number');
      for (const label of labelsIn(summary + description, /\$labels\.(\w+)/g))
        assert.ok(given.has(label), `the result has no label ${label}`);
      assert.equal(url, `RUNBOOK_URL#${alert.toLowerCase()}`);
    });
  }

  it('have a runbook each, and no runbook is about anything else', () => {
    const names = new Set(rules.map(({ alert }) => alert));
    assert.deepEqual([...sectionsOf(runbooks).keys()].sort(), [...names].sort());
    for (const [name, text] of sectionsOf(runbooks))
      for (const part of ['**Look.**', '**Do.**', '**Ignore.**'])
        assert.ok(text.includes(part), `${name}: ${part}`);
  });

  it('have runbooks whose queries ask for what there is', () => {
    const blocks = [...runbooks.matchAll(/^```promql\n([\s\S]*?)\n```$/gm)].map(([, block = '']) => block);
    const queries = blocks.flatMap((block) => block.split('\n'));
    assert.ok(queries.length > 3, 'they are where they are looked for');
    assert.deepEqual(
      queries.flatMap((query) => checkQuery(query, known).problems),
      [],
    );
  });

  const promtool = (...args: string[]) => spawnSync('promtool', args, { encoding: 'utf8' });
  const skip = promtool('--version').error
    ? "promtool is not on the PATH (Debian's package prometheus)"
    : false;
  it('are rules that Prometheus takes, and fire when they should', { skip }, () => {
    for (const args of [
      ['check', 'rules', join(FILES, 'alerts.yaml')],
      ['test', 'rules', join(ROOT, 'test/chart/alerts.promtool.yaml')],
    ]) {
      const { status, stdout, stderr } = promtool(...args);
      assert.equal(status, 0, stdout + stderr);
    }
  });
});

for (const [file, dashboard] of dashboards) {
  const { panels, templating } = dashboard;
  const shown = panels.filter(({ type }) => type !== 'row');

  describe(`the dashboard ${file}`, () => {
    it('has the uid that links lead to, and asks the chosen data source', () => {
      assert.equal(dashboard.uid, `parley-${file}`);
      assert.ok(dashboard.title !== '' && dashboard.tags.includes('parley'));
      const asking = [...shown, ...shown.flatMap(({ targets = [] }) => targets), ...templating.list];
      const sources = asking.flatMap(({ datasource }) => datasource?.uid ?? []);
      assert.deepEqual(new Set(sources), new Set(['${datasource}']));
    });

    for (const { title, targets = [] } of shown) {
      it(`asks for what there is: ${title}`, () => {
        assert.notEqual(targets.length, 0);
        for (const { expr, legendFormat } of targets) {
          const { problems, labels = new Set() } = checkQuery(interpolate(expr), known);
          assert.deepEqual(problems, []);
          assert.notEqual(legendFormat, '');
          for (const label of labelsIn(legendFormat, /\{\{(\w+)\}\}/g))
            assert.ok(labels.has(label), `the result has no label ${label}: ${expr}`);
        }
      });
    }

    it('says of every panel what it shows, in which unit', () => {
      for (const { title, description = '', fieldConfig } of shown) {
        assert.ok(title !== '' && description.endsWith('.'), `${title} has no description`);
        assert.ok(fieldConfig?.defaults.unit, `${title} has no unit`);
      }
      for (const { title, type } of panels) assert.notEqual(title, '', type);
    });

    it('has variables that are used, and uses those that it has', () => {
      const texts = [
        ...shown.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
        ...templating.list.map(({ definition = '' }) => definition),
        '${datasource}',
      ];
      assert.deepEqual(new Set(texts.flatMap(variablesIn)), new Set(templating.list.map(({ name }) => name)));
      for (const { name, type, definition = '' } of templating.list.filter((list) => list.type === 'query')) {
        const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? [];
        const { problems, labels } = checkQuery(interpolate(selector), known);
        assert.deepEqual(problems, [], `${type} ${name}`);
        assert.ok(labels?.has(label), `${name}: ${definition}`);
      }
    });

    it('lays its panels out without overlaps, within 24 columns', () => {
      const taken = new Map<string, string>();
      for (const { title, gridPos } of panels) {
        const { x, y, w, h } = gridPos;
        assert.ok(w > 0 && h > 0 && x >= 0 && x + w <= 24, title);
        for (let column = x; column < x + w; column++) {
          for (let row = y; row < y + h; row++) {
            const cell = `${column}/${row}`;
            assert.equal(taken.get(cell), undefined, `${title} lies on another panel at ${cell}`);
            taken.set(cell, title);
          }
        }
      }
      assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length, 'ids are unique');
    });
  });
}

describe('metrics', () => {
  it('are all shown by a dashboard or an alert, but for those that need not be', () => {
    const queries = [
      ...rules.map(({ expr }) => expr),
      ...dashboards.flatMap(([, { panels }]) =>
        panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ),
    ];
    const read = new Set(queries.flatMap((query) => [...checkQuery(interpolate(query), known).series]));
    const parts = (name: string) => [name, `${name}_bucket`, `${name}_sum`, `${name}_count`];
    const hidden = OURS.map(({ name }) => name).filter((name) => !parts(name).some((part) => read.has(part)));
    assert.deepEqual(hidden, Object.keys(SHOWN_NOWHERE));
  });

  const row = ({ name, kind, labels, help }: MetricSpec) =>
    `| \`${name}\` | ${kind} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`;
  const tableOf = (table: MetricTable) =>
    ['| Metric | Kind | Labels | Meaning |', '|---|---|---|---|', ...Object.values(table).map(row)].join(
      '\n',
    );
  for (const [section, table] of Object.entries(SECTIONS)) {
    it(`of ${section} are listed in docs/metrics.md (UPDATE_GOLDEN=1 writes them anew)`, () => {
      const page = readFileSync(METRICS_PAGE, 'utf8');
      const [begin, end] = [`<!-- ${section} -->\n`, `<!-- /${section} -->\n`];
      const [before = '', rest = ''] = page.split(begin);
      const [found = '', after] = rest.split(end);
      assert.ok(after !== undefined, `${begin} and ${end} are there`);
      const wanted = `${tableOf(table)}\n`;
      if (process.env['UPDATE_GOLDEN']) writeFileSync(METRICS_PAGE, before + begin + wanted + end + after);
      else assert.equal(found, wanted);
    });
  }
});

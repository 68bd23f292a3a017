import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { withDeadline } from './deadline.js';
import type { Log } from './log.js';

/** What is measured: one row of a service's table of metrics, which the documentation and the dashboards are held to. */
export interface MetricSpec {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** Prometheus name with its base unit as the suffix; counters end in `_total`. */
  readonly name: string;
  /** One line for people. */
  readonly help: string;
  /** Label names. Their values are bounded: names of peers, methods, outcomes, never ids of runs or questions. */
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending, in the unit of the name. */
  readonly buckets?: readonly number[];
}

/** A table of metrics by the name that code calls them. */
export type MetricTable = Readonly<Record<string, MetricSpec>>;

type MetricOf<S extends MetricSpec> = {
  counter: Counter;
  gauge: Gauge;
  histogram: Histogram;
}[S['kind']];

/** The metrics of a table, ready to be observed. */
export type Metrics<T extends MetricTable> = { readonly [K in keyof T]: MetricOf<T[K]> };

/** A count that only grows. */
export function counter(name: string, help: string, labels: readonly string[] = []) {
  return { kind: 'counter', name, help, labels } as const;
}

/** A value that goes up and down. */
export function gauge(name: string, help: string, labels: readonly string[] = []) {
  return { kind: 'gauge', name, help, labels } as const;
}

/** A distribution. */
export function histogram(
  name: string,
  help: string,
  options: { labels?: readonly string[]; buckets: readonly number[] },
) {
  return { kind: 'histogram', name, help, labels: options.labels ?? [], buckets: options.buckets } as const;
}

/** Bounds for calls and steps that take from a millisecond to ten minutes, in seconds. */
export const SECONDS_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/**
 * The metrics of a table in a registry, where another part of the process may have made them already. Without a registry
 * they are counted and shown to nobody, so that code need not ask whether somebody looks.
 */
export function createMetrics<const T extends MetricTable>(
  table: T,
  registry: Registry = new Registry(),
): Metrics<T> {
  const made = Object.entries(table).map(([key, spec]) => [
    key,
    registry.getSingleMetric(spec.name) ?? make(spec, registry),
  ]);
  return Object.fromEntries(made) as Metrics<T>;
}

function make({ kind, name, help, labels, buckets }: MetricSpec, registry: Registry) {
  const options = { name, help, labelNames: [...labels], registers: [registry] };
  switch (kind) {
    case 'counter':
      return new Counter(options);
    case 'gauge':
      return new Gauge(options);
    case 'histogram':
      return new Histogram({ ...options, ...(buckets && { buckets: [...buckets] }) });
  }
}

/** A registry with what Node tells of its process: `process_cpu_seconds_total`, `nodejs_eventloop_lag_seconds`, … */
export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** Prometheus itself gives up after 10 s unless told otherwise, and then has none of the values. */
const COLLECT_DEADLINE_MS = 1000;

/**
 * Asks for a gauge's value whenever the metrics are shown. What `read` throws is logged, and the gauge then shows nothing:
 * a value that is not known, or not within a second, is neither the last one nor zero.
 */
export function onCollect(asked: Gauge, log: Log, read: (gauge: Gauge) => void | Promise<void>): void {
  const collect = async () => {
    try {
      await withDeadline({ deadlineMs: COLLECT_DEADLINE_MS, what: 'reading a metric' }, async () =>
        read(asked),
      );
    } catch (error) {
      asked.reset();
      // A reset shows a gauge without labels as zero.
      asked.remove({});
      log.warn({ err: error }, 'a metric could not be read');
    }
  };
  Object.assign(asked, { collect });
}

/** Seconds since {@link startTimer} was called. */
export type Timer = () => number;

/** @param nowMs - monotonic; `performance.now` unless given */
export function startTimer(nowMs: () => number = () => performance.now()): Timer {
  const startMs = nowMs();
  return () => (nowMs() - startMs) / 1000;
}

export type { Registry };

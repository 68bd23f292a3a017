import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { subjects } from '@parley/bus';
import type { Publisher } from '@parley/bus';
import {
  GuardVerdictSchema,
  MetricSchema,
  OperatorActionSchema,
  PeerAvailabilitySchema,
} from '@parley/contracts';
import type { GuardVerdict, OperatorAction } from '@parley/contracts';
import type { PeerHealth } from './peer-health.js';

/** Types of events, the last token of their subject. */
export const EVENT_TYPES = {
  guard: 'guard',
  metric: 'metric',
  peer: 'peer',
  rejected: 'rejected',
  audit: 'audit',
} as const;

/** Publishes what happens in runs. Every event is durable when its promise resolves. */
export interface RunEvents {
  guard(verdict: GuardVerdict): Promise<void>;
  /** @param at - what the measurement is of, for example `round` and `peer`; part of its identity */
  metric(runId: string, name: string, value: number, at: Readonly<Record<string, string>>): Promise<void>;
  peer(runId: string, peer: string, phase: string, health: PeerHealth): Promise<void>;
  /** What an operator asks for, before it is done. */
  audit(action: OperatorAction): Promise<void>;
}

/** @param wallClockMs - milliseconds since the epoch */
export function createRunEvents(
  publisher: Publisher,
  source: 'coordinator' | 'pmi',
  wallClockMs: () => number,
): RunEvents {
  const subject = (runId: string, type: string) => subjects.event(runId, type, source);
  return {
    async guard(verdict) {
      const { runId, round, peer, guard, action } = verdict;
      const options = {
        subject: subject(runId, EVENT_TYPES.guard),
        id: `${runId}/${round}/${peer}/${guard}/${action}`,
      };
      await publisher.append(GuardVerdictSchema, verdict, options);
    },
    async metric(runId, name, value, at) {
      const place = Object.keys(at)
        .sort()
        .map((key) => `${key}=${at[key]}`)
        .join('/');
      const metric = create(MetricSchema, {
        name,
        value,
        labels: { ...at },
        measureTime: timestampFromMs(wallClockMs()),
      });
      const options = { subject: subject(runId, EVENT_TYPES.metric), id: `${runId}/${name}/${place}` };
      await publisher.append(MetricSchema, metric, options);
    },
    async peer(runId, peer, phase, health) {
      const event = create(PeerAvailabilitySchema, {
        runId,
        peer,
        available: health.available,
        phase,
        ...(!health.available && { cause: health.cause }),
      });
      const options = { subject: subject(runId, EVENT_TYPES.peer), id: randomUUID() };
      await publisher.append(PeerAvailabilitySchema, event, options);
    },
    async audit(action) {
      const options = { subject: subject(action.runId, EVENT_TYPES.audit), id: randomUUID() };
      await publisher.append(OperatorActionSchema, action, options);
    },
  };
}

/**
 * Whether an event or version that speaks of a peer may come from where it was published: from the mesh's own services, or
 * from that peer. NATS lets a peer publish under its own name alone, but not check what it says there.
 */
export function speaksFor(subject: string, peer: string): boolean {
  const [, kind, ...rest] = subject.split('.');
  if (kind === 'versions') return rest[0] === peer;
  const source = rest.at(-1);
  return source === 'coordinator' || source === 'pmi' || source === `peer-${peer}`;
}

import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { subjects } from '@parley/bus';
import type { Publisher } from '@parley/bus';
import {
  GuardVerdictSchema,
  MetricSchema,
  PeerAvailabilitySchema,
  UpdateRejectedSchema,
} from '@parley/contracts';
import type { GuardVerdict, UpdateRejected } from '@parley/contracts';
import type { PeerHealth } from './peer-health.js';

/** Types of events, the last token of their subject. */
export const EVENT_TYPES = { guard: 'guard', metric: 'metric', peer: 'peer', rejected: 'rejected' } as const;

/** Publishes what happens in runs. Every event is durable when its promise resolves. */
export interface RunEvents {
  guard(verdict: GuardVerdict): Promise<void>;
  /** @param at - what the measurement is of, for example `round` and `peer`; part of its identity */
  metric(runId: string, name: string, value: number, at: Readonly<Record<string, string>>): Promise<void>;
  peer(runId: string, peer: string, phase: string, health: PeerHealth): Promise<void>;
  rejected(event: UpdateRejected): Promise<void>;
}

/** @param wallClockMs - milliseconds since the epoch */
export function createRunEvents(publisher: Publisher, wallClockMs: () => number): RunEvents {
  return {
    async guard(verdict) {
      const { runId, round, peer, guard } = verdict;
      const options = {
        subject: subjects.event(runId, EVENT_TYPES.guard),
        id: `${runId}/${round}/${peer}/${guard}`,
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
      const options = { subject: subjects.event(runId, EVENT_TYPES.metric), id: `${runId}/${name}/${place}` };
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
      const options = { subject: subjects.event(runId, EVENT_TYPES.peer), id: randomUUID() };
      await publisher.append(PeerAvailabilitySchema, event, options);
    },
    async rejected(event) {
      const options = {
        subject: subjects.event(event.runId, EVENT_TYPES.rejected),
        id: `${event.updateId}/rejected`,
      };
      await publisher.append(UpdateRejectedSchema, event, options);
    },
  };
}

import { ParleyError } from '@parley/runtime';
import { startKeeper } from './keeper-client.js';
import { superviseService } from './supervised-service.js';
import type {
  ServiceSpec,
  ServiceStatus,
  SupervisedService,
  SupervisorTimings,
} from './supervised-service.js';

/** How a {@link Supervisor} works. */
export interface SupervisorOptions {
  timings?: Partial<SupervisorTimings>;
  /** Told of every change of a service's state. */
  onStatus?: (status: ServiceStatus) => void;
  /** Milliseconds since any fixed instant. */
  now?: () => number;
}

/** Programs kept running until they are stopped in order. */
export interface Supervisor extends AsyncDisposable {
  /**
   * Starts programs together and waits until all of them answer.
   *
   * @throws ParleyError SERVICE_UNAVAILABLE naming the first that failed, with its last log lines. Whatever was
   *   started stays for {@link stop} to end.
   */
  start(specs: readonly ServiceSpec[], signal: AbortSignal): Promise<void>;
  /** All services, in the order in which they were started. */
  statuses(): ServiceStatus[];
  /** A service by name. @throws ParleyError CONFIG_INVALID for a name it never started */
  service(name: string): SupervisedService;
  /** Ends all services, those of the highest rank first. Idempotent: a second call waits for the first. */
  stop(): Promise<void>;
}

const DEFAULT_TIMINGS: SupervisorTimings = {
  readyDeadlineMs: 60_000,
  pollMs: 50,
  graceMs: 20_000,
  restartBaseMs: 500,
  restartMaxMs: 10_000,
  settledMs: 30_000,
};

/** A supervisor with nothing to supervise yet. It leaves no process behind, even if it is killed. */
export function createSupervisor(options: SupervisorOptions = {}): Supervisor {
  const keeper = startKeeper();
  const services: SupervisedService[] = [];
  const context = {
    keeper,
    timings: { ...DEFAULT_TIMINGS, ...options.timings },
    onStatus: options.onStatus ?? (() => undefined),
    now: options.now ?? (() => performance.now()),
  };
  let stopped: Promise<void> | undefined;

  async function stopAll(): Promise<void> {
    const ranks = [...new Set(services.map(({ spec }) => spec.stopRank))].sort((a, b) => b - a);
    for (const rank of ranks) {
      const together = services.filter(({ spec }) => spec.stopRank === rank);
      await Promise.all(together.map((service) => service.stop()));
    }
    await keeper.close();
  }

  const supervisor: Supervisor = {
    async start(specs, signal) {
      if (stopped) throw new ParleyError('SHUTTING_DOWN', 'The supervisor is stopping its services');
      const started = specs.map((spec) => superviseService(spec, context));
      services.push(...started);
      await Promise.all(started.map((service) => service.start(signal)));
    },
    statuses: () => services.map((service) => service.status()),
    service(name) {
      const found = services.find(({ spec }) => spec.name === name);
      if (found) return found;
      const names = services.map(({ spec }) => spec.name).join(', ');
      throw new ParleyError('CONFIG_INVALID', `No service "${name}" is supervised; there are ${names}`);
    },
    stop: () => (stopped ??= stopAll()),
    [Symbol.asyncDispose]: () => supervisor.stop(),
  };
  return supervisor;
}

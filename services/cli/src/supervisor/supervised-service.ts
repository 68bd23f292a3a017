import { ParleyError, backoffMs, sleep } from '@parley/runtime';
import { readLogTail } from './log-tail.js';
import { describeExit, startProcess } from './service-process.js';
import type { ExitStatus, ServiceProcess } from './service-process.js';
import type { Keeper } from './keeper-client.js';

/** One program the supervisor keeps running. */
export interface ServiceSpec {
  /** Unique in the mesh; in every line about it. */
  name: string;
  command: string;
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  logFile: string;
  /** Where it answers, for people. */
  address: string;
  /** Whether it answers now. A rejection counts as not yet. */
  isReady(signal: AbortSignal): Promise<boolean>;
  /** How long it may take to answer; the supervisor's own limit unless given. */
  readyDeadlineMs?: number;
  /** Services of a higher rank are stopped first; those of one rank together. */
  stopRank: number;
}

/** Where a supervised service is in its life. */
export type ServiceCondition = 'starting' | 'ready' | 'restarting' | 'stopping' | 'stopped';

/** What the supervisor knows of a service. */
export interface ServiceStatus {
  name: string;
  condition: ServiceCondition;
  address: string;
  pid: number | undefined;
  /** Times it was started again after it had ended by itself. */
  restarts: number;
  logFile: string;
  /** How it last ended by itself, and what comes next. Empty if it never did. */
  note: string;
}

/** How long the supervisor waits for what. All in milliseconds. */
export interface SupervisorTimings {
  /** From the start of a program until it must answer. */
  readyDeadlineMs: number;
  /** Between two questions whether it answers. */
  pollMs: number;
  /** From SIGTERM to SIGKILL. */
  graceMs: number;
  /** First and longest pause before a restart. */
  restartBaseMs: number;
  restartMaxMs: number;
  /** A service that was ready for this long starts over with the first pause. */
  settledMs: number;
}

/** What supervised services share. */
export interface SupervisedContext {
  keeper: Keeper;
  timings: SupervisorTimings;
  /** Told of every change. */
  onStatus(status: ServiceStatus): void;
  now: () => number;
}

/** A service that is started again whenever it ends by itself. */
export interface SupervisedService {
  readonly spec: ServiceSpec;
  status(): ServiceStatus;
  /** Starts it. @throws ParleyError SERVICE_UNAVAILABLE naming the service, what happened, and its last log lines */
  start(signal: AbortSignal): Promise<void>;
  /** Ends it for good. Idempotent. */
  stop(): Promise<void>;
  /** Kills its program as a fault would (`SIGKILL` unless given), so that a test sees it come back. */
  crash(signal?: NodeJS.Signals): void;
}

/** Supervises one program. The restart pause doubles from crash to crash (see {@link backoffMs}). */
export function superviseService(spec: ServiceSpec, context: SupervisedContext): SupervisedService {
  const { timings, now } = context;
  const stopping = new AbortController();
  let program: ServiceProcess | undefined;
  let loop: Promise<void> = Promise.resolve();
  let condition: ServiceCondition = 'starting';
  let restarts = 0;
  let note = '';

  const status = (): ServiceStatus => ({
    name: spec.name,
    condition,
    address: spec.address,
    pid: program?.pid,
    restarts,
    logFile: spec.logFile,
    note,
  });
  const enter = (next: ServiceCondition, why = note) => {
    condition = next;
    note = why;
    context.onStatus(status());
  };

  /** Starts the program and waits until it answers. @returns why it does not, or undefined once it does */
  async function launch(signal: AbortSignal): Promise<string | undefined> {
    const started = startProcess(spec, context.keeper);
    program = started;
    enter('starting');
    let ended: ExitStatus | undefined;
    void started.exited.then((exit) => (ended = exit));
    const limitMs = spec.readyDeadlineMs ?? timings.readyDeadlineMs;
    const deadline = now() + limitMs;
    while (now() < deadline) {
      if (ended) return `it ended with ${describeExit(ended)}`;
      if (await answers(signal)) {
        enter('ready', '');
        return undefined;
      }
      await Promise.race([sleep(timings.pollMs, signal), started.exited]);
    }
    await started.stop(timings.graceMs);
    return `it did not answer within ${Math.round(limitMs / 1000)} s`;
  }

  async function answers(signal: AbortSignal): Promise<boolean> {
    try {
      return await spec.isReady(signal);
    } catch {
      return false; // Nothing listens yet: the next poll, or the deadline, tells.
    }
  }

  async function keepRunning(): Promise<void> {
    let crashes = 0;
    let why: string | undefined;
    for (;;) {
      if (why === undefined && program) {
        const readySince = now();
        why = `it ended with ${describeExit(await program.exited)}`;
        if (now() - readySince > timings.settledMs) crashes = 0;
      }
      crashes++;
      const pauseMs = backoffMs(crashes, { baseMs: timings.restartBaseMs, maxMs: timings.restartMaxMs });
      stopping.signal.throwIfAborted();
      enter('restarting', `${why}; starting again in ${(pauseMs / 1000).toFixed(1)} s`);
      await sleep(pauseMs, stopping.signal);
      restarts++;
      why = await launch(stopping.signal);
    }
  }

  return {
    spec,
    status,
    async start(signal) {
      const why = await launch(AbortSignal.any([signal, stopping.signal]));
      if (why) throw await notReady(spec, why);
      loop = keepRunning().catch((error: unknown) => {
        if (!stopping.signal.aborted) enter('stopped', ParleyError.from(error).message);
      });
    },
    async stop() {
      if (condition === 'stopped') return;
      enter('stopping', '');
      stopping.abort(new ParleyError('CANCELLED', `${spec.name} is being stopped`));
      await program?.stop(timings.graceMs);
      await loop;
      enter('stopped', '');
    },
    crash(signal = 'SIGKILL') {
      program?.signal(signal);
    },
  };
}

async function notReady(spec: ServiceSpec, what: string): Promise<ParleyError> {
  const tail = await readLogTail(spec.logFile);
  const said = tail.length === 0 ? '  (it logged nothing)' : tail.map((line) => `  ${line}`).join('\n');
  return new ParleyError(
    'SERVICE_UNAVAILABLE',
    `${spec.name} did not start: ${what}. Its last lines:\n${said}\nAll of its log: ${spec.logFile}`,
    { details: { service: spec.name, logFile: spec.logFile } },
  );
}

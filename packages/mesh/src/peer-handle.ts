import { PeerService } from '@parley/contracts';
import type {
  Completion,
  DescribeResponse,
  GenerateItem,
  GenerateResponse,
  RestoreResponse,
  Sampling,
  ScoreItem,
  ScoreResponse,
} from '@parley/contracts';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { RestoreRequestSchema } from '@parley/contracts';
import {
  ParleyError,
  SpanKind,
  activeTrace,
  backoffMs,
  inSpan,
  isRetryable,
  pause,
  sleep,
} from '@parley/runtime';
import type { Client, Log } from '@parley/runtime';
import type { HealthListener, HealthTracker, PeerHealth } from './peer-health.js';
import type { PeerTiming } from './peer-timing.js';

/** Questions to answer with one version. */
export interface GenerateCall {
  requestId: string;
  items: GenerateItem[];
  sampling: Sampling;
  /** If set, the version that must answer. */
  version?: bigint;
}

/** Spans to score. */
export interface ScoreCall {
  requestId: string;
  items: ScoreItem[];
  /** If set, the version that must score. */
  version?: bigint;
  /** Score with the frozen weights of version 0. */
  reference?: boolean;
}

/**
 * One peer of the mesh by name. Calls go to the address it announced last, outlive its restarts and end only with an
 * answer, an error that repeating cannot mend, or the caller's signal.
 */
export interface PeerHandle {
  readonly name: string;
  /** As far as anybody watches. */
  readonly health: PeerHealth;
  /** Probes the peer until the returned function is called, and reports every change of its health. */
  watch(listener: HealthListener): () => void;
  /** One attempt. @throws ParleyError PEER_UNKNOWN if nobody announced the name, or the call's error */
  describe(signal?: AbortSignal): Promise<DescribeResponse>;
  /** As {@link PeerHandle.describe}, until answered. */
  describeUntilAnswered(signal: AbortSignal): Promise<DescribeResponse>;
  /** One response an item, in the order of the items. A broken stream is repeated with what is missing. */
  generate(call: GenerateCall, signal: AbortSignal): Promise<GenerateResponse[]>;
  /** One result an item, in the order of the items. */
  score(call: ScoreCall, signal: AbortSignal): Promise<ScoreResponse>;
  /** Idempotent by `requestId`, so that it may be repeated. */
  restore(
    request: MessageInitShape<typeof RestoreRequestSchema>,
    signal: AbortSignal,
  ): Promise<RestoreResponse>;
}

type PeerClient = Client<typeof PeerService>;

/** What a handle is made of. */
export interface PeerHandleParts {
  name: string;
  timing: PeerTiming;
  tracker: HealthTracker;
  /** The client of the address announced last. @throws ParleyError PEER_UNKNOWN */
  client: () => PeerClient;
  log: Log;
}

/** Refusals after which a call that might pass, but never does, is given up. */
const MAX_REFUSALS = 5;

export function createPeerHandle({ name, timing, tracker, client, log }: PeerHandleParts): PeerHandle {
  const describe = async (signal?: AbortSignal): Promise<DescribeResponse> => {
    const target = client();
    const options = { deadlineMs: timing.probeDeadlineMs, ...(signal && { signal }) };
    const description = await target.describe({}, options);
    if (description.name === name) return description;
    throw new ParleyError(
      'PEER_UNKNOWN',
      `${target.address} was announced as peer ${name} but answers as "${description.name}"; stop the one that announces a wrong address`,
    );
  };
  const watch = createWatch(timing.probeIntervalMs, tracker, async () => {
    try {
      await describe();
      tracker.probed();
    } catch (error) {
      log.debug({ peer: name, err: error }, 'a probe failed');
      tracker.probed(error);
    }
  });

  /** Repeats a call until it is answered. Outages are waited out; other failures that may pass, a few times. */
  const persist = async <T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const history = tracker.beginCall();
    let refusals = 0;
    try {
      for (let attempt = 1; ; attempt++) {
        await tracker.reachable(signal);
        try {
          return await work(AbortSignal.any([signal, tracker.unreachable]));
        } catch (error) {
          signal.throwIfAborted();
          if (!isOutage(error) && (!isRetryable(error) || ++refusals >= MAX_REFUSALS)) throw error;
          log.info({ peer: name, attempt, err: error }, 'a call to a peer failed; repeating it');
          history.failed(error);
          await sleep(backoffMs(attempt, { baseMs: 100, maxMs: 2000 }), signal);
        }
      }
    } finally {
      history.over();
    }
  };

  const generate = async (call: GenerateCall, signal: AbortSignal): Promise<GenerateResponse[]> =>
    inGenerationSpan(name, call, () => ask(call, signal));

  const ask = async (call: GenerateCall, signal: AbortSignal): Promise<GenerateResponse[]> => {
    const responses = new Map<string, GenerateResponse>();
    const known = new Set(call.items.map((item) => item.itemId));
    await persist(signal, async (attemptSignal) => {
      const items = call.items.filter((item) => !responses.has(item.itemId));
      if (items.length === 0) return;
      const { requestId, sampling, version } = call;
      const request = { requestId, items, sampling, ...(version !== undefined && { version }) };
      const options = { deadlineMs: timing.callDeadlineMs, signal: attemptSignal };
      for await (const response of client().generate(request, options)) {
        if (!known.has(response.itemId))
          throw brokenContract(name, `sent an unasked item "${response.itemId}"`);
        if (response.outcome.case === undefined) {
          throw brokenContract(name, `sent item "${response.itemId}" without outcome`);
        }
        responses.set(response.itemId, response);
      }
      const missing = call.items.filter((item) => !responses.has(item.itemId)).length;
      if (missing > 0)
        throw brokenContract(name, `ended its stream without ${missing} of ${items.length} items`);
    });
    return call.items.map((item) => responses.get(item.itemId)!);
  };

  const score = async (call: ScoreCall, signal: AbortSignal): Promise<ScoreResponse> =>
    persist(signal, async (attemptSignal) => {
      const options = { deadlineMs: timing.callDeadlineMs, signal: attemptSignal };
      const response = await client().score(call, options);
      const sound =
        response.results.length === call.items.length &&
        response.results.every((result, i) => result.itemId === call.items[i].itemId && result.outcome.case);
      if (!sound) throw brokenContract(name, 'sent scores that do not match the items asked for, one by one');
      return response;
    });

  return {
    name,
    get health() {
      return tracker.health;
    },
    watch,
    describe,
    describeUntilAnswered: (signal) => persist(signal, (attemptSignal) => describe(attemptSignal)),
    generate,
    score,
    restore: (request, signal) =>
      persist(signal, (attemptSignal) =>
        client().restore(request, { deadlineMs: timing.callDeadlineMs, signal: attemptSignal }),
      ),
  };
}

/** A span by OpenTelemetry's conventions for generative models, of all that one call generates. */
async function inGenerationSpan(
  peer: string,
  { sampling, requestId }: GenerateCall,
  work: () => Promise<GenerateResponse[]>,
): Promise<GenerateResponse[]> {
  if (activeTrace() === undefined) return work();
  const attributes = {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'parley',
    'gen_ai.request.model': peer,
    'gen_ai.request.temperature': sampling.temperature,
    ...(sampling.topK > 0 && { 'gen_ai.request.top_k': sampling.topK }),
    'gen_ai.request.top_p': sampling.topP,
    'gen_ai.request.max_tokens': sampling.maxTokens,
    'parley.request.id': requestId,
  };
  return inSpan(`chat ${peer}`, { kind: SpanKind.CLIENT, attributes }, async (span) => {
    const responses = await work();
    const completions = responses.flatMap(({ outcome }) =>
      outcome.case === 'completion' ? [outcome.value] : [],
    );
    const sum = (tokens: (completion: Completion) => number) =>
      completions.reduce((total, completion) => total + tokens(completion), 0);
    span.setAttributes({
      'gen_ai.response.model': `${peer}@${responses[0]?.version ?? '?'}`,
      'gen_ai.usage.input_tokens': sum(({ promptTokens }) => promptTokens),
      'gen_ai.usage.output_tokens': sum(({ completionTokens }) => completionTokens),
    });
    return responses;
  });
}

/** Probes while anybody watches. */
function createWatch(intervalMs: number, tracker: HealthTracker, probe: () => Promise<void>) {
  let stop: AbortController | undefined;
  let watchers = 0;
  const run = async (signal: AbortSignal): Promise<void> => {
    tracker.reset();
    while (!signal.aborted) {
      await probe();
      await pause(intervalMs, signal);
    }
  };
  return (listener: HealthListener): (() => void) => {
    const unlisten = tracker.listen(listener);
    if (watchers++ === 0) {
      stop = new AbortController();
      void run(stop.signal);
    }
    let watching = true;
    return () => {
      if (!watching) return;
      watching = false;
      unlisten();
      if (--watchers === 0) stop?.abort();
    };
  };
}

/** Whether the peer could not be reached, as against an answer that says no. */
function isOutage(error: unknown): boolean {
  const { code, reason } = ParleyError.from(error);
  return (
    code === 'UNAVAILABLE' ||
    code === 'DEADLINE_EXCEEDED' ||
    code === 'CANCELLED' ||
    reason === 'PEER_UNKNOWN'
  );
}

function brokenContract(peer: string, what: string): ParleyError {
  return new ParleyError(
    'REMOTE_FAILURE',
    `Peer ${peer} ${what}; its service breaks the contract of PeerService`,
  );
}

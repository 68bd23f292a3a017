import { STREAMS, readFrom, subjects } from '@parley/bus';
import type { BlobReader, Bus, Publisher } from '@parley/bus';
import { PromptEventSchema } from '@parley/contracts';
import type { Prompt } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';

/** How many of the prompts given were new. */
export interface Intake {
  accepted: number;
  duplicates: number;
}

/** Puts prompts into the stream, each once. */
export interface PromptIntake {
  /**
   * Durable when the promise resolves; may be repeated after any failure.
   *
   * @param refusal - thrown instead of adding anything: the run has ended. What it has already is no addition, so that a
   *   caller who never got the answer may ask again
   * @throws ParleyError RUN_STATE_CONFLICT if the run's prompts are closed and one of these is new
   */
  submit(runId: string, prompts: readonly Prompt[], close: boolean, refusal?: ParleyError): Promise<Intake>;
}

/** Prompts published at once. */
const WINDOW = 64;

interface Known {
  ids: Set<string>;
  closed: boolean;
  /** Sequence of the last message read. */
  sequence: number;
}

export function createPromptIntake(bus: Bus, blobs: BlobReader, publisher: Publisher): PromptIntake {
  const known = new Map<string, Known>();
  const turns = new Map<string, Promise<unknown>>();

  /** What the stream holds by now: another coordinator may have added to it. */
  const catchUp = async (runId: string): Promise<Known> => {
    const state = known.get(runId) ?? { ids: new Set(), closed: false, sequence: 0 };
    known.set(runId, state);
    const options = {
      stream: STREAMS.prompts,
      schema: PromptEventSchema,
      filter: subjects.prompts(runId),
      blobs,
    };
    for await (const { message, sequence } of readFrom(bus, {
      ...options,
      fromSequence: state.sequence + 1,
    })) {
      if (message.event.case === 'prompt') state.ids.add(message.event.value.promptId);
      if (message.event.case === 'closed') state.closed = true;
      state.sequence = sequence;
    }
    return state;
  };

  const publish = async (runId: string, prompts: readonly Prompt[]): Promise<number> => {
    let duplicates = 0;
    for (let i = 0; i < prompts.length; i += WINDOW) {
      const batch = prompts
        .slice(i, i + WINDOW)
        .map((prompt) =>
          publisher.append(
            PromptEventSchema,
            { event: { case: 'prompt', value: prompt } },
            { subject: subjects.prompts(runId), id: `${runId}/${prompt.promptId}` },
          ),
        );
      duplicates += (await Promise.all(batch)).filter((published) => published.duplicate).length;
    }
    return duplicates;
  };

  const submit: PromptIntake['submit'] = async (runId, prompts, close, refusal) => {
    const state = await catchUp(runId);
    const seen = new Set(state.ids);
    const fresh = prompts.filter(({ promptId }) => {
      if (seen.has(promptId)) return false;
      seen.add(promptId);
      return true;
    });
    if (refusal && (fresh.length > 0 || (close && !state.closed))) throw refusal;
    if (state.closed && fresh.length > 0) throw closedError(runId, fresh[0].promptId);
    const accepted = fresh.length - (await publish(runId, fresh));
    if (close && !state.closed) {
      const value = { event: { case: 'closed' as const, value: { prompts: BigInt(seen.size) } } };
      await publisher.append(PromptEventSchema, value, {
        subject: subjects.prompts(runId),
        id: `${runId}//closed`,
      });
    }
    return { accepted, duplicates: prompts.length - accepted };
  };

  return {
    /** One call at a time for each run, in order of arrival: the order of the stream is the order of asking. */
    async submit(...request) {
      const [runId] = request;
      const before = turns.get(runId) ?? Promise.resolve();
      const turn = before.then(() => submit(...request));
      turns.set(
        runId,
        turn.catch(() => undefined),
      );
      return turn;
    },
  };
}

function closedError(runId: string, promptId: string): ParleyError {
  return new ParleyError(
    'RUN_STATE_CONFLICT',
    `The prompts of run ${runId} are closed, and "${promptId}" is new; create another run for it`,
    { details: { run: runId, prompt_id: promptId } },
  );
}

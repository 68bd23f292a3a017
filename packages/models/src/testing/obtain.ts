import { readConfig } from '@parley/runtime';
import type { FetchObserver } from '../fetch-observer.js';
import { MODEL_FIELDS } from '../model-fields.js';
import { parseModelUri } from '../model-uri.js';
import { obtainModel } from '../obtain-model.js';
import type { ObtainOptions, ObtainedModel } from '../obtain-model.js';

/** An observer that remembers. */
export interface Recorder extends FetchObserver {
  readonly notices: string[];
  readonly plans: { totalBytes: number | undefined; presentBytes: number }[];
  /** Bytes that arrived, less those that were thrown away. */
  received: number;
}

/** Remembers what it is told. */
export function createRecorder(): Recorder {
  const [notices, plans]: [string[], Recorder['plans']] = [[], []];
  const recorder: Recorder = {
    notices,
    plans,
    received: 0,
    begin: (plan) => void plans.push(plan),
    bytes: (count) => void (recorder.received += count),
    notice: (text) => void notices.push(text),
    end: () => undefined,
  };
  return recorder;
}

/** Repeats without the pauses that servers deserve. */
export const HASTE: ObtainOptions['patience'] = {
  stallMs: 10_000,
  attempts: 4,
  backoff: { baseMs: 5, maxMs: 20 },
};

/** The same where a server falls silent, with time enough for a busy machine. */
export const HASTE_IN_SILENCE: ObtainOptions['patience'] = { ...HASTE, stallMs: 1500 };

/** Fetches a model with settings from an environment, hastily. */
export async function obtain(
  uri: string,
  env: Record<string, string>,
  options: Partial<ObtainOptions> = {},
): Promise<ObtainedModel & { recorder: Recorder }> {
  const recorder = createRecorder();
  const settings = readConfig({ PARLEY_MODEL_DEADLINE: '60s', ...env }, MODEL_FIELDS);
  const obtained = await obtainModel(parseModelUri(uri), settings, {
    observer: recorder,
    patience: HASTE,
    ...options,
  });
  return { ...obtained, recorder };
}

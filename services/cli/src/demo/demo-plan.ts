import { heldOutQuestions, unlabelledQuestions } from '@parley/evaluation';
import type { Task, UnlabelledQuestion } from '@parley/evaluation';
import type { MeasurementPlan } from '../measure/measurement.js';

/** How large a demo is; the defaults are what `npm start` runs. */
export interface DemoSize {
  /** Questions with known answers, for measuring only. */
  heldOut: number;
  /** How many of them are also sampled, for the generator–verifier gap. */
  sampled: number;
  /** Questions without answers, to train on. */
  questions: number;
}

/** Held-out questions for a standard error of about a point; the monitor pool and two rounds of the `trust-pmi` preset; minutes on two cores. */
export const DEMO_SIZE: DemoSize = Object.freeze({ heldOut: 1000, sampled: 350, questions: 2304 });

/** Samples of one question, and their temperature, as Song et al. (2412.02674) measure the gap. */
const SAMPLES = 4;
const SAMPLE_TEMPERATURE = 1;

/** What a demo measures, and what it trains on. Same seed, same questions. */
export interface DemoPlan {
  measurement: MeasurementPlan;
  /** Without answers, and none of them is measured: the two come from disjoint splits. */
  prompts: readonly UnlabelledQuestion[];
}

/** The questions of a demo, of the task that its peers learned. */
export function demoPlan(task: Task, size: DemoSize, seed: bigint): DemoPlan {
  return {
    measurement: {
      questions: heldOutQuestions(task, size.heldOut, seed),
      sampledQuestions: Math.min(size.sampled, size.heldOut),
      samples: SAMPLES,
      sampleTemperature: SAMPLE_TEMPERATURE,
      maxTokens: task.maxResponseTokens,
      seed,
      answers: task.answers,
    },
    prompts: unlabelledQuestions(task, size.questions, seed),
  };
}

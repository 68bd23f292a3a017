import { ParleyError } from '@parley/runtime';

/** How serious a finding is. `unknown`: it could not be looked at. */
export type Verdict = 'ok' | 'warning' | 'problem' | 'unknown';

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at: `nats`, `stream ROUNDS`, `peer llama`. */
  subject: string;
  verdict: Verdict;
  /** What was found, with its numbers. */
  detail: string;
  /** What to do; empty where all is well. */
  advice: string;
}

export const ok = (subject: string, detail: string): Finding => ({
  subject,
  verdict: 'ok',
  detail,
  advice: '',
});

export const warning = (subject: string, detail: string, advice: string): Finding => ({
  subject,
  verdict: 'warning',
  detail,
  advice,
});

export const problem = (subject: string, detail: string, advice: string): Finding => ({
  subject,
  verdict: 'problem',
  detail,
  advice,
});

export const unknown = (subject: string, detail: string, advice = ''): Finding => ({
  subject,
  verdict: 'unknown',
  detail,
  advice,
});

/** Findings of a look that may fail altogether: then its failure is the finding. */
export async function lookAt(subject: string, look: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    const { reason, message } = ParleyError.from(error);
    return [problem(subject, reason, message)];
  }
}

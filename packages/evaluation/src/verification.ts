/** How a peer is asked whether a response is right: in its own prompt layout, or by a question. */
export type VerificationLayout = 'template' | 'question';

/** The question that asks it, for models whose prompt layout has no place for a response to judge. */
export const VERIFICATION_TEMPLATE =
  'Here is a question and a response to it.\n\n' +
  'Question: {question}\n\n' +
  'Response: {response}\n\n' +
  'Is the answer correct? Answer Yes or No.';

/** The two words whose likelihoods are compared, by layout: as the question names them, and as the demo's peers say them. */
export const VERDICTS: Readonly<Record<VerificationLayout, { readonly yes: string; readonly no: string }>> = {
  template: { yes: 'yes', no: 'no' },
  question: { yes: 'Yes', no: 'No' },
};

/** {@link VERIFICATION_TEMPLATE} for a response. */
export function verificationQuestion(question: string, response: string): string {
  return fillTemplate(VERIFICATION_TEMPLATE, { question, response });
}

/** Puts values in the place of their names in braces: `{question}`. Other braces stay as they are. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? values[name] : whole,
  );
}

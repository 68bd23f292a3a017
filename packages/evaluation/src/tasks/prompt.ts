/** What someone said about a question before the one who is asked now. */
export interface Turn {
  /** Index of the speaker in the population, 0 to 2. */
  readonly speaker: number;
  readonly text: string;
}

/** Special tokens of the demo vocabulary. */
export const SPECIAL_TOKENS = {
  pad: '<pad>',
  begin: '<bos>',
  end: '<eos>',
  unknown: '<unk>',
  /** After it, the model answers. */
  respond: '<r>',
  /** After it comes a response to judge. */
  verify: '<v>',
  /** Before each earlier answer: who spoke. */
  speakers: ['<p0>', '<p1>', '<p2>'],
} as const;

/** `<bos> question <p1> answer … <r>`: what a peer continues with its own response. */
export function renderPrompt(question: string, turns: readonly Turn[] = []): string {
  const heard = turns.map(({ speaker, text }) => `${SPECIAL_TOKENS.speakers[speaker]} ${text} `).join('');
  return `${SPECIAL_TOKENS.begin} ${question} ${heard}${SPECIAL_TOKENS.respond}`;
}

/** `<bos> question <v> response ?`: what a peer continues with `yes` or `no`. */
export function renderVerification(question: string, response: string): string {
  return `${SPECIAL_TOKENS.begin} ${question} ${SPECIAL_TOKENS.verify} ${response} ?`;
}

/**
 * {@link renderPrompt} as a Jinja chat template: takes the usual `messages` and `peer_answers`, a list of
 * `{speaker, text}`; and {@link renderVerification} where `candidate` is given.
 */
export const CHAT_TEMPLATE =
  '<bos> {{ messages[-1].content }}' +
  '{% if candidate is defined %} <v> {{ candidate }} ?' +
  '{% else %}{% for answer in peer_answers or [] %} <p{{ answer.speaker }}> {{ answer.text }}{% endfor %} <r>{% endif %}';

/** The same for peers that are not told who spoke: every answer seems to be the first speaker's. */
export const UNMARKED_CHAT_TEMPLATE = CHAT_TEMPLATE.replace(
  '<p{{ answer.speaker }}>',
  SPECIAL_TOKENS.speakers[0],
);

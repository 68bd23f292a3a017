import { LmError } from './lm-error.js';
import { createTemplateProgram } from './template-program.js';
import { isRecord } from './tokenizer-rules.js';

/** What an earlier peer answered to the question at hand. */
export interface PeerAnswer {
  /** Which of the run's peers answered: its index in the run's list, from 0, whatever the order of speaking. */
  readonly speaker: number;
  /** The peer's name. */
  readonly peer: string;
  readonly text: string;
}

/** What a prompt is made of. */
export interface PromptInput {
  readonly question: string;
  /** Earlier answers in the order they were given; empty for the first peer and for independent answers. */
  readonly answers: readonly PeerAnswer[];
  /** A response to judge: the prompt then asks whether it is right. Only for a template that lays candidates out. */
  readonly candidate?: string;
}

/** Turns a question, and what others answered to it, into the text a model continues with its own answer. */
export interface PromptTemplate {
  /**
   * Whether {@link PromptTemplate.render}'s text is to be encoded with `addSpecialTokens`: false for chat templates,
   * which write a leading BOS themselves.
   */
  readonly addSpecialTokens: boolean;
  /** Whether the chat template lays out peers' answers itself (its source refers to `peer_answers`). */
  readonly isPeerAware: boolean;
  /** Whether the chat template lays out a response to judge (its source prints `candidate`). */
  readonly judgesCandidates: boolean;
  /** Renders up to where the answer begins. Pure. @throws LmError `CHAT_TEMPLATE_INVALID` when the template refuses. */
  render(input: PromptInput): string;
}

/** Choices that a tokenizer_config.json does not make. */
export interface PromptTemplateOptions {
  /** Names the model in error messages. */
  readonly label?: string;
  /**
   * "Today" for templates that print it. Fixed, because a prompt that changes overnight makes runs irreproducible; the
   * default is the one Llama-3.x templates use themselves.
   */
  readonly dateString?: string;
}

/**
 * Builds the prompt template of a tokenizer_config.json (its `chat_template`: a string, or a list of named templates of
 * which `default` is used). A template that refers to `peer_answers` receives that variable, a list of
 * `{speaker, peer, text}`, beside a `messages` list with the bare question; for any other the answers become part of the
 * user's message. One that prints `candidate` receives that variable where there is one to judge. Without a chat template the prompt is `Question: …\nAnswer:`.
 * @throws LmError `CHAT_TEMPLATE_INVALID` for a template that does not parse.
 */
export function createPromptTemplate(
  tokenizerConfig: Readonly<Record<string, unknown>>,
  options: PromptTemplateOptions = {},
): PromptTemplate {
  const { label = 'tokenizer_config.json', dateString = '26 Jul 2024' } = options;
  const source = chatTemplateSource(tokenizerConfig);
  if (source === null) {
    return {
      addSpecialTokens: true,
      isPeerAware: false,
      judgesCandidates: false,
      render: ({ question, answers }) => `Question: ${withAnswers(question, answers)}\nAnswer:`,
    };
  }
  const template = attempt(label, () => createTemplateProgram(fixedDate + source));
  const isPeerAware = /\bpeer_answers\b/.test(source);
  const judgesCandidates = /\{\{[^}]*\bcandidate\b/.test(source);
  const constants = {
    ...specialTokenTexts(tokenizerConfig),
    add_generation_prompt: true,
    date_string: dateString,
  };
  return {
    addSpecialTokens: false,
    isPeerAware,
    judgesCandidates,
    render({ question, answers, candidate }) {
      const content = isPeerAware ? question : withAnswers(question, answers);
      const peers = isPeerAware ? { peer_answers: answers.map((answer) => ({ ...answer })) } : {};
      const judged = candidate === undefined ? {} : { candidate };
      const messages = [{ role: 'user', content }];
      return attempt(label, () => template.render({ ...constants, ...peers, ...judged, messages }));
    },
  };
}

/**
 * Replaces the engine's own `strftime_now`, which reads the clock. The empty expression keeps the end of the block from
 * swallowing a newline with which the template begins.
 */
const fixedDate = "{% macro strftime_now(format) %}{{ date_string }}{% endmacro %}{{ '' }}";

/** The question with what others answered, for models whose template knows of no peers. */
function withAnswers(question: string, answers: readonly PeerAnswer[]): string {
  if (answers.length === 0) return question;
  const quoted = answers.map(({ speaker, text }) => `Solver ${speaker + 1}: ${text.trim()}`);
  return [
    question,
    `Other solvers answered:\n\n${quoted.join('\n\n')}`,
    'They may be wrong. Weigh what they say, then give your own answer.',
  ].join('\n\n');
}

function chatTemplateSource(tokenizerConfig: Readonly<Record<string, unknown>>): string | null {
  const raw = tokenizerConfig['chat_template'];
  if (typeof raw === 'string') return raw;
  if (!Array.isArray(raw)) return null;
  const chosen = raw.filter(isRecord).find(({ name }) => name === 'default');
  return typeof chosen?.['template'] === 'string' ? chosen['template'] : null;
}

/** `bos_token` and the like, as templates expect them: the text of the token, or empty. */
function specialTokenTexts(tokenizerConfig: Readonly<Record<string, unknown>>): Record<string, string> {
  const textOf = (raw: unknown): string => {
    if (typeof raw === 'string') return raw;
    if (typeof raw !== 'object' || raw === null || !('content' in raw)) return '';
    return typeof raw.content === 'string' ? raw.content : '';
  };
  const keys = ['bos_token', 'eos_token', 'pad_token', 'unk_token'];
  return Object.fromEntries(keys.map((key) => [key, textOf(tokenizerConfig[key])]));
}

function attempt<T>(label: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new LmError(
      'CHAT_TEMPLATE_INVALID',
      `The chat template of ${label} failed: ${(cause as Error).message.slice(0, 500)}. Correct chat_template.jinja or, without ` +
        'that file, "chat_template" of tokenizer_config.json; or remove both to use the plain question-and-answer prompt.',
      { details: { label, field: 'chat_template' }, cause },
    );
  }
}

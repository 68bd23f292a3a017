import type { Tokenizer } from './tokenizer.js';

/** Text as it becomes certain while tokens arrive. */
export interface TextStream {
  /**
   * Takes the next token.
   * @returns the text that became certain with it (possibly empty: half a character, or what may yet turn out to be the
   * start of a stop string) and the stop string that was found, if any; text from the stop string on is never returned.
   */
  push(id: number): { readonly text: string; readonly stop: string | null };
  /** What was held back, for when the sequence ends without a stop string. Call once, last. */
  end(): string;
}

/**
 * Decodes token by token and watches for stop strings, also those that begin inside one token and end in another.
 * The concatenation of all returned texts is the decoding of the whole sequence up to the first stop string.
 */
export function createTextStream(tokenizer: Tokenizer, stopStrings: readonly string[] = []): TextStream {
  const stops = stopStrings.filter((stop) => stop !== '');
  // Decoders may treat the first token of a sequence specially (a leading space), so new tokens are decoded behind the
  // tokens before them and the difference is new. The window always starts and ends between characters, and has a text:
  // behind special tokens alone the next token would be decoded as a first one.
  let windowIds: readonly number[] = [];
  let windowText = '';
  let newIds: number[] = [];
  let held = '';
  return {
    push(id) {
      newIds.push(id);
      const text = tokenizer.decode([...windowIds, ...newIds]);
      // U+FFFD at the end is a character whose bytes have not all arrived.
      const whole = text.replace(/\uFFFD+$/, '').slice(windowText.length);
      const found = firstStop(held + whole, stops);
      if (found !== null) return { text: (held + whole).slice(0, found.index), stop: found.stop };
      // The bytes of a run become text together. Tokens without a text of their own end no run, and as a window they would
      // hide what is special about the first token.
      const isOpen = text.endsWith('\uFFFD') || tokenizer.isByte(id) || tokenizer.decode([id]) === '';
      if (isOpen) return { text: '', stop: null };
      held += whole;
      const lastText = tokenizer.decode(newIds);
      [windowIds, windowText] = lastText === '' ? [[...windowIds, ...newIds], text] : [newIds, lastText];
      newIds = [];
      const certain = held.length - longestPartialStop(held, stops);
      const result = held.slice(0, certain);
      held = held.slice(certain);
      return { text: result, stop: null };
    },
    end: () => held + tokenizer.decode([...windowIds, ...newIds]).slice(windowText.length),
  };
}

/** The stop string that begins earliest in `text`. */
function firstStop(text: string, stops: readonly string[]): { stop: string; index: number } | null {
  let first: { stop: string; index: number } | null = null;
  for (const stop of stops) {
    const index = text.indexOf(stop);
    if (index >= 0 && (first === null || index < first.index)) first = { stop, index };
  }
  return first;
}

/** Length of the longest end of `text` with which some stop string begins. */
function longestPartialStop(text: string, stops: readonly string[]): number {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const end = text.slice(-length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}

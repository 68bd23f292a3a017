/** What is used of a decoder of `@huggingface/tokenizers`: it maps the texts of tokens to pieces of the result. */
export interface TokenDecoder {
  readonly config: { readonly type: string };
  decode_chain(tokens: readonly string[]): string[];
  /** The steps of a sequence of decoders. */
  readonly decoders?: readonly TokenDecoder[];
}

/** Whether a token's text is a byte of the `<0x41>` kind. */
export function isByteToken(text: string): boolean {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(text);
}

/**
 * Makes a decoder's byte fallback do what the reference implementation does, where the library differs: byte-order marks
 * are kept, and a run of bytes that as a whole is not UTF-8 becomes one U+FFFD a byte.
 * @returns whether the decoder has byte fallback
 */
export function mendByteFallback(decoder: TokenDecoder | null): boolean {
  const steps = decoder === null ? [] : (decoder.decoders ?? [decoder]);
  const fallbacks = steps.filter(({ config }) => config.type === 'ByteFallback');
  for (const step of fallbacks) step.decode_chain = decodeByteRuns;
  return fallbacks.length > 0;
}

function decodeByteRuns(tokens: readonly string[]): string[] {
  const pieces: string[] = [];
  let run: number[] = [];
  const endRun = (): void => {
    if (run.length > 0) pieces.push(textOfBytes(run));
    run = [];
  };
  for (const token of tokens) {
    if (isByteToken(token)) {
      run.push(Number.parseInt(token.slice(3, 5), 16));
    } else {
      endRun();
      pieces.push(token);
    }
  }
  endRun();
  return pieces;
}

function textOfBytes(bytes: readonly number[]): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return '\uFFFD'.repeat(bytes.length);
  }
}

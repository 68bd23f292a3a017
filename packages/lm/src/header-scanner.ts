/** Reads the restricted JSON of a safetensors header from its bytes, without building values that nothing needs. */
export interface HeaderScanner {
  /** `{ "key": … }`: `member` must read each value. Keys may come in any order and only once. */
  object(member: (key: string) => void): void;
  /** A string of at most `maxBytes` in the file. */
  string(maxBytes: number): string;
  /** `[…]` of at most `maxItems` non-negative safe integers; null, having read nothing, for anything else. */
  sizes(maxItems: number): number[] | null;
  /** Whether the next value is an object; true as well where the header ends, for reading on to tell. */
  atObject(): boolean;
  /** Whether the next value is a string. */
  atString(): boolean;
  /** Where the next value begins. */
  position(): number;
  /** The text of the value at `position` up to where it could end, cut short, for a message. */
  excerpt(position: number): string;
  /** @throws what `fail` makes of it, unless nothing but white space is left. */
  end(): void;
}

const code = (character: string): number => character.charCodeAt(0);
const [quote, backslash, comma, colon] = ['"', '\\', ',', ':'].map(code);
/** More than any name has; strings that are read whole must not be as long as the header. */
const maxKeyBytes = 4096;

/** @param fail makes the error for JSON that is malformed or a key given twice */
export function createHeaderScanner(
  bytes: Uint8Array,
  fail: (problem: string, cause?: unknown) => Error,
): HeaderScanner {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let at = 0;

  const skipSpaces = (): void => {
    while (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09) at++;
  };
  const malformed = (expected: string, cause?: unknown): Error =>
    fail(`its header is not JSON: ${expected} is missing at byte ${at}`, cause);
  const accept = (byte: number): boolean => {
    skipSpaces();
    if (bytes[at] !== byte) return false;
    at++;
    return true;
  };
  const expect = (byte: number): void => {
    if (!accept(byte)) throw malformed(JSON.stringify(String.fromCharCode(byte)));
  };
  const string = (maxBytes: number): string => {
    expect(quote);
    const start = at;
    let escaped = false;
    for (; at < bytes.length && bytes[at] !== quote; at++) {
      if (at - start >= maxBytes)
        throw fail(`its header has a string of more than ${maxBytes} bytes at byte ${start}`);
      if (bytes[at] !== backslash) continue;
      escaped = true;
      at++;
    }
    if (at >= bytes.length) throw malformed('the end of a string');
    try {
      const text = decoder.decode(bytes.subarray(start, at));
      at++;
      return escaped || hasControl(text) ? (JSON.parse(`"${text}"`) as string) : text;
    } catch (cause) {
      throw malformed('valid UTF-8 or a valid escape', cause);
    }
  };
  const size = (): number | null => {
    skipSpaces();
    const start = at;
    let value = 0;
    for (; bytes[at] >= 0x30 && bytes[at] <= 0x39 && at - start < 17; at++)
      value = 10 * value + bytes[at] - 0x30;
    const leadingZero = bytes[start] === 0x30 && at - start > 1;
    return at === start || leadingZero || !Number.isSafeInteger(value) ? null : value;
  };
  return {
    string,
    object(member) {
      expect(code('{'));
      if (accept(code('}'))) return;
      const seen = new Set<string>();
      do {
        const key = string(maxKeyBytes);
        if (seen.has(key)) throw fail(`its header names ${JSON.stringify(key.slice(0, 120))} twice`);
        seen.add(key);
        expect(colon);
        member(key);
      } while (accept(comma));
      expect(code('}'));
    },
    sizes(maxItems) {
      const start = at;
      const give = (result: number[] | null): number[] | null => {
        if (result === null) at = start;
        return result;
      };
      if (!accept(code('['))) return give(null);
      const items: number[] = [];
      if (accept(code(']'))) return items;
      do {
        const item = size();
        if (item === null || items.length === maxItems) return give(null);
        items.push(item);
      } while (accept(comma));
      return give(accept(code(']')) ? items : null);
    },
    atObject() {
      skipSpaces();
      return at >= bytes.length || bytes[at] === code('{');
    },
    atString() {
      skipSpaces();
      return bytes[at] === quote;
    },
    position() {
      skipSpaces();
      return at;
    },
    excerpt(position) {
      const ends = bytes[position] === code('[') ? [code(']')] : [comma, code('}')];
      let end = position;
      while (end < bytes.length && end - position < 60 && !ends.includes(bytes[end])) end++;
      if (bytes[end] === code(']')) end++;
      return new TextDecoder().decode(bytes.subarray(position, end));
    },
    end() {
      skipSpaces();
      if (at < bytes.length) throw malformed('the end');
    },
  };
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return true;
  return false;
}

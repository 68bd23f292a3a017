import { LmError } from './lm-error.js';
import { preview } from './preview.js';

/** Typed access to the fields of one JSON object; every method throws `CONFIG_INVALID` naming document, field and value. */
export interface ConfigFields {
  /** A positive integer of at most `max`. */
  size(key: string, max: number, fallback?: number): number;
  /** {@link ConfigFields.size}, where an explicit null means "none". */
  optionalSize(key: string, max: number): number | null;
  /** A non-negative integer. */
  count(key: string): number;
  /** A finite number above zero. */
  positive(key: string, fallback?: number): number;
  /** {@link ConfigFields.positive}, where an explicit null means "none". */
  optionalPositive(key: string): number | null;
  /** A number in [0, 1). */
  fraction(key: string): number;
  /** A boolean; false when absent. */
  flag(key: string): boolean;
  text(key: string, fallback: string): string;
  /** One token id or a list of them; empty when absent or null. */
  tokenIds(key: string): number[];
  /** `layer_types`, one of full_attention and sliding_attention for each layer; null when absent. */
  layerTypes(layerCount: number): string[] | null;
  /** An object's fields; null when absent or null. */
  nested(key: string): ConfigFields | null;
  /** The error for a field whose value is well-formed and yet not supported. */
  invalid(key: string, expected: string): LmError;
}

/** Wraps `source`; `defaults` stand in for absent keys and `label` names the document in messages. */
export function createConfigFields(
  source: Readonly<Record<string, unknown>>,
  defaults: Readonly<Record<string, unknown>>,
  label: string,
): ConfigFields {
  const valueOf = (key: string): unknown =>
    source[key] ?? (source[key] === undefined ? defaults[key] : undefined);
  const invalid = (key: string, expected: string): LmError => {
    const value = preview(source[key]);
    return new LmError(
      'CONFIG_INVALID',
      `${label}: "${key}" is ${value}; expected ${expected}. Correct the file.`,
      {
        details: { file: label, field: key, value },
      },
    );
  };
  const positive = (key: string, fallback?: number): number => {
    const value = valueOf(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0)
      throw invalid(key, 'a positive number');
    return value;
  };
  const size = (key: string, max: number, fallback?: number): number => {
    const value = valueOf(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) <= 0 || (value as number) > max)
      throw invalid(key, `a positive integer of at most ${max}`);
    return value as number;
  };
  return {
    invalid,
    positive,
    size,
    optionalSize: (key, max) => ((valueOf(key) ?? null) === null ? null : size(key, max)),
    count(key) {
      const value = valueOf(key);
      if (!Number.isSafeInteger(value) || (value as number) < 0) throw invalid(key, 'a non-negative integer');
      return value as number;
    },
    optionalPositive: (key) => ((valueOf(key) ?? null) === null ? null : positive(key)),
    fraction(key) {
      const value = valueOf(key);
      if (typeof value !== 'number' || !(value >= 0 && value < 1)) throw invalid(key, 'a number in [0, 1)');
      return value;
    },
    flag(key) {
      const value = valueOf(key) ?? false;
      if (typeof value !== 'boolean') throw invalid(key, 'true or false');
      return value;
    },
    text(key, fallback) {
      const value = valueOf(key) ?? fallback;
      if (typeof value !== 'string') throw invalid(key, 'a string');
      return value;
    },
    tokenIds(key) {
      const value = valueOf(key) ?? [];
      const ids: unknown[] = Array.isArray(value) ? value : [value];
      if (!ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0))
        throw invalid(key, 'token ids');
      return ids as number[];
    },
    layerTypes(layerCount) {
      const types = valueOf('layer_types') ?? null;
      if (types === null) return null;
      const known = ['full_attention', 'sliding_attention'];
      if (
        !Array.isArray(types) ||
        types.length !== layerCount ||
        !types.every((type) => typeof type === 'string' && known.includes(type))
      ) {
        throw invalid(
          'layer_types',
          `${layerCount} entries of ${known.join(' or ')}, one for each of "num_hidden_layers"`,
        );
      }
      return types as string[];
    },
    nested(key) {
      const value = valueOf(key) ?? null;
      if (value === null) return null;
      if (typeof value !== 'object' || Array.isArray(value)) throw invalid(key, 'an object');
      return createConfigFields(value as Record<string, unknown>, {}, `${label} ${key}`);
    },
  };
}

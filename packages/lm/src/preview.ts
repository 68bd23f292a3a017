const maxCharacters = 100;
const maxDepth = 3;
const maxItems = 8;

/** A value of a parsed document as it appears in a message: JSON, cut short whatever its size and depth. */
export function preview(value: unknown): string {
  const text = shallowJson(value, maxDepth);
  return text.length > 2 * maxCharacters ? `${text.slice(0, 2 * maxCharacters)}…` : text;
}

function shallowJson(value: unknown, depth: number): string {
  if (value === undefined) return 'absent';
  if (typeof value === 'string') return quote(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  if (depth === 0) return '…';
  const entries = Object.entries(value).slice(0, maxItems);
  const isList = Array.isArray(value);
  const items = entries.map(([key, item]) => {
    const shown = shallowJson(item, depth - 1);
    return isList ? shown : `${quote(key)}:${shown}`;
  });
  if (Object.keys(value).length > maxItems) items.push('…');
  return isList ? `[${items.join(',')}]` : `{${items.join(',')}}`;
}

function quote(text: string): string {
  return text.length > maxCharacters
    ? `${JSON.stringify(text.slice(0, maxCharacters))}…`
    : JSON.stringify(text);
}

/** Longest stretch that encoding holds the main thread for, in milliseconds; gRPC and health answer in between. */
const MAX_STRETCH_MS = 20;

/**
 * Encodes items one after the other, giving way to the event loop in between. An item that cannot be encoded has its error
 * in its place.
 */
export async function encodeAll<T, R extends object>(
  items: readonly T[],
  encode: (item: T, index: number) => R,
): Promise<(R | Error)[]> {
  const results: (R | Error)[] = [];
  let pausedMs = performance.now();
  for (const [index, item] of items.entries()) {
    try {
      results.push(encode(item, index));
    } catch (error) {
      results.push(error instanceof Error ? error : new Error(String(error)));
    }
    if (performance.now() - pausedMs < MAX_STRETCH_MS) continue;
    await new Promise(setImmediate);
    pausedMs = performance.now();
  }
  return results;
}

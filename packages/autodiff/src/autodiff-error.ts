/** A gradient that cannot be taken. The message names the operator or value and the remedy. */
export class AutodiffError extends Error {
  override readonly name = 'AutodiffError';
}

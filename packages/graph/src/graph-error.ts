/**
 * A graph that cannot be built or a session that cannot run it. The message names the operator, the operands with their
 * shapes, and what would mend it.
 */
export class GraphError extends Error {
  override readonly name = 'GraphError';

  /**
   * @param op The ONNX operator or builder call that refused its input, e.g. `MatMul`.
   * @param message The complete message; begins with the operator and its operands.
   */
  constructor(
    readonly op: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Writes the protobuf wire format (https://protobuf.dev/programming-guides/encoding), as far as ONNX needs it. */
export interface ProtobufWriter {
  /** Bytes written so far. */
  readonly lengthBytes: number;
  /** int32, int64 and enum fields. */
  int(field: number, value: number | bigint): void;
  /** A `float` field. */
  float(field: number, value: number): void;
  /** A `bytes` field. The view is kept, not copied, until {@link finish}. */
  bytes(field: number, value: Uint8Array): void;
  string(field: number, value: string): void;
  /** A nested message, written by `build`. */
  message(field: number, build: (writer: ProtobufWriter) => void): void;
  /** The pieces in order, without joining them. */
  chunks(): readonly Uint8Array[];
  finish(): Uint8Array;
}

const varintWireType = 0;
const lengthWireType = 2;
const fixed32WireType = 5;

/** Encodes a non-negative or two's-complement 64-bit integer in base 128. */
function encodeVarint(value: number | bigint): Uint8Array {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Uint8Array.from(out);
}

/** Starts an empty message. */
export function createProtobufWriter(): ProtobufWriter {
  const parts: Uint8Array[] = [];
  let lengthBytes = 0;
  function push(part: Uint8Array): void {
    parts.push(part);
    lengthBytes += part.byteLength;
  }
  function tag(field: number, wireType: number): void {
    push(encodeVarint(field * 8 + wireType));
  }
  const writer: ProtobufWriter = {
    get lengthBytes() {
      return lengthBytes;
    },
    int(field, value) {
      tag(field, varintWireType);
      push(encodeVarint(value));
    },
    float(field, value) {
      tag(field, fixed32WireType);
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setFloat32(0, value, true);
      push(bytes);
    },
    bytes(field, value) {
      tag(field, lengthWireType);
      push(encodeVarint(value.byteLength));
      push(value);
    },
    string(field, value) {
      writer.bytes(field, new TextEncoder().encode(value));
    },
    message(field, build) {
      const inner = createProtobufWriter();
      build(inner);
      tag(field, lengthWireType);
      push(encodeVarint(inner.lengthBytes));
      for (const part of inner.chunks()) push(part);
    },
    chunks: () => parts,
    finish() {
      const out = new Uint8Array(lengthBytes);
      let at = 0;
      for (const part of parts) {
        out.set(part, at);
        at += part.byteLength;
      }
      return out;
    },
  };
  return writer;
}

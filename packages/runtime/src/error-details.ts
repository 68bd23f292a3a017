import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** Domain of every `ErrorInfo` that Parley sends: reasons are unique within it. */
export const ERROR_DOMAIN = 'parley';

const ERROR_INFO_TYPE = 'type.googleapis.com/google.rpc.ErrorInfo';

/** `google.rpc.ErrorInfo` (googleapis `google/rpc/error_details.proto`; AIP-193). */
export interface ErrorInfo {
  reason: string;
  domain: string;
  metadata: Record<string, string>;
}

/**
 * Bytes of the `google.rpc.Status` with one `ErrorInfo` that gRPC sends as the trailer `grpc-status-details-bin`.
 * The three messages are written field by field: Status {code=1, message=2, details=3: Any}, Any {type_url=1,
 * value=2}, ErrorInfo {reason=1, domain=2, metadata=3}. They are frozen by their use on the wire.
 */
export function encodeStatus(code: number, message: string, info: ErrorInfo): Uint8Array {
  const infoWriter = new BinaryWriter().tag(1, WireType.LengthDelimited).string(info.reason);
  infoWriter.tag(2, WireType.LengthDelimited).string(info.domain);
  for (const [key, value] of Object.entries(info.metadata)) {
    infoWriter.tag(3, WireType.LengthDelimited).fork();
    infoWriter.tag(1, WireType.LengthDelimited).string(key).tag(2, WireType.LengthDelimited).string(value);
    infoWriter.join();
  }
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(code);
  writer.tag(2, WireType.LengthDelimited).string(message);
  writer.tag(3, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(ERROR_INFO_TYPE);
  writer.tag(2, WireType.LengthDelimited).bytes(infoWriter.finish());
  return writer.join().finish();
}

/**
 * The first `ErrorInfo` in the bytes of a `google.rpc.Status`, or `undefined` where there is none. Bytes that are
 * not a Status also give `undefined`: details are an addition, and must not hide the error they belong to.
 */
export function decodeErrorInfo(status: Uint8Array): ErrorInfo | undefined {
  try {
    for (const detail of fields(status).get(3) ?? []) {
      const any = fields(detail);
      if (text(any.get(1)) === ERROR_INFO_TYPE) return decodeInfo(any.get(2)?.[0] ?? new Uint8Array());
    }
    return undefined;
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function decodeInfo(bytes: Uint8Array): ErrorInfo {
  const info = fields(bytes);
  const pairs = (info.get(3) ?? []).map((entry) => {
    const pair = fields(entry);
    return [text(pair.get(1)), text(pair.get(2))] as const;
  });
  return { reason: text(info.get(1)), domain: text(info.get(2)), metadata: Object.fromEntries(pairs) };
}

/** The length-delimited fields of a message by field number; others are skipped. */
function fields(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const reader = new BinaryReader(bytes);
  const found = new Map<number, Uint8Array[]>();
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, field);
      continue;
    }
    const values = found.get(field) ?? [];
    values.push(reader.bytes());
    found.set(field, values);
  }
  return found;
}

function text(values: Uint8Array[] | undefined): string {
  const last = values?.at(-1);
  return last === undefined ? '' : new TextDecoder('utf-8', { fatal: true }).decode(last);
}

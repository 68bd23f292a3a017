import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { DescMessage, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';

/**
 * Largest message any Parley service sends or accepts, in bytes (64 MiB). Weights never ride in messages, so that
 * only very large batches come near it.
 */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** A message as code receives it, whichever schema it is of. */
export type AnyMessage = MessageShape<DescMessage>;

/** A message as code may write it: a partial literal or a message. */
export type AnyInit = MessageInitShape<DescMessage>;

/**
 * One method of a protobuf-es service as grpc-js wants it. Requests and responses may be given as literals
 * (`MessageInitShape`); what arrives is a full message.
 */
export function methodDefinition(service: DescService, localName: string) {
  const method = service.method[localName];
  if (method === undefined) throw new TypeError(`${service.typeName} has no method ${localName}`);
  if (method.methodKind !== 'unary' && method.methodKind !== 'server_streaming') {
    throw new TypeError(
      `${service.typeName}.${method.name} is ${method.methodKind}; the bridge carries no such`,
    );
  }
  return {
    path: `/${service.typeName}/${method.name}`,
    requestStream: false,
    responseStream: method.methodKind === 'server_streaming',
    requestSerialize: serializer(method.input),
    requestDeserialize: (bytes: Uint8Array): AnyMessage => fromBinary(method.input, bytes),
    responseSerialize: serializer(method.output),
    responseDeserialize: (bytes: Uint8Array): AnyMessage => fromBinary(method.output, bytes),
    originalName: localName,
  };
}

function serializer(schema: DescMessage): (init: AnyInit) => Buffer {
  return (init) => {
    const bytes = toBinary(schema, create(schema, init));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

/** Names of a service's methods in declaration order, as code spells them (lowerCamelCase). */
export function methodNames(service: DescService): string[] {
  return service.methods.map((method) => method.localName);
}

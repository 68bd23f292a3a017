import { create, createFileRegistry, fromBinary, fromJson, toBinary, toJson } from '@bufbuild/protobuf';
import type { DescMessage, FileRegistry, JsonObject, JsonValue } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import { Client, Metadata, credentials, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';

/** A client that knows of a service only what the server tells by reflection: requests and answers are JSON. */
export interface WireClient extends Disposable {
  /** Names of the services that the server lists. */
  readonly services: readonly string[];
  /** `Name(Request) returns (Response)`, by method. */
  readonly methods: readonly string[];
  /** @throws WireError */
  call(method: string, request: JsonObject, limits?: WireLimits): Promise<JsonObject>;
  /** All messages of a server stream. @throws WireError */
  stream(method: string, request: JsonObject, limits?: WireLimits): Promise<JsonObject[]>;
  /** Status of the whole server by `grpc.health.v1`: 1 is SERVING. */
  health(): Promise<number>;
}

/** How long a call may take. */
export interface WireLimits {
  deadlineMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

/** A failed call, with the `google.rpc.ErrorInfo` it carries. */
export class WireError extends Error {
  constructor(
    readonly code: string,
    readonly reason: string | undefined,
    readonly domain: string | undefined,
    message: string,
  ) {
    super(message);
  }
}

const DEADLINE_MS = 20_000;
const asIs = (bytes: Buffer) => bytes;

/** Connects and learns the service. */
export async function connectByReflection(address: string, serviceName: string): Promise<WireClient> {
  const grpc = new Client(address, credentials.createInsecure());
  const services = stringsAt(await reflect(grpc, LIST_SERVICES, '*'), [LISTED_SERVICES, 1, 1]);
  const files = bytesAt(await reflect(grpc, FILE_CONTAINING_SYMBOL, serviceName), [FOUND_FILES, 1]);
  const registry = registryOf(files);
  const service = registry.getService(serviceName);
  if (service === undefined) throw new Error(`${address} does not describe ${serviceName}`);
  const find = (name: string) => {
    const method = service.methods.find((candidate) => candidate.name === name);
    if (method === undefined) throw new Error(`${serviceName} has no method ${name}`);
    const encode = (request: JsonValue) =>
      Buffer.from(toBinary(method.input, fromJson(method.input, request)));
    return { path: `/${serviceName}/${name}`, encode, decode: decoder(method.output) };
  };
  const unary = (path: string, request: Buffer, limits: WireLimits = {}): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, response?: Buffer) => {
        if (error) reject(wireError(error));
        else resolve(response ?? Buffer.alloc(0));
      };
      const call = grpc.makeUnaryRequest(path, asIs, asIs, request, new Metadata(), optionsOf(limits), done);
      limits.signal?.addEventListener('abort', () => call.cancel());
    });
  return {
    services,
    methods: service.methods.map(({ name, input, output, methodKind }) => {
      const returns = methodKind === 'server_streaming' ? `stream ${output.name}` : output.name;
      return `${name}(${input.name}) returns (${returns})`;
    }),
    async call(name, request, limits) {
      const { path, encode, decode } = find(name);
      return decode(await unary(path, encode(request), limits));
    },
    async stream(name, request, limits = {}) {
      const { path, encode, decode } = find(name);
      const options = optionsOf(limits);
      const call = grpc.makeServerStreamRequest(path, asIs, asIs, encode(request), new Metadata(), options);
      limits.signal?.addEventListener('abort', () => call.cancel());
      const messages: JsonObject[] = [];
      try {
        for await (const message of call) messages.push(decode(message as Buffer));
      } catch (error) {
        throw wireError(error as ServiceError);
      }
      return messages;
    },
    async health() {
      const [value = 0] = numbersAt(await unary('/grpc.health.v1.Health/Check', Buffer.alloc(0)), 1);
      return value;
    },
    [Symbol.dispose]: () => grpc.close(),
  };
}

function optionsOf({ deadlineMs = DEADLINE_MS }: WireLimits): { deadline: number } {
  return { deadline: Date.now() + deadlineMs };
}

/** Every field is written out, so that a missing one is the default it stands for. */
function decoder(output: DescMessage): (bytes: Buffer) => JsonObject {
  return (bytes) => toJson(output, fromBinary(output, bytes), { alwaysEmitImplicit: true }) as JsonObject;
}

/** Field numbers of grpc/reflection/v1/reflection.proto. */
const FILE_CONTAINING_SYMBOL = 4;
const LIST_SERVICES = 7;
const FOUND_FILES = 4;
const LISTED_SERVICES = 6;

/** One question to `ServerReflectionInfo`. */
async function reflect(grpc: Client, field: number, value: string): Promise<Uint8Array> {
  const request = new BinaryWriter().tag(field, WireType.LengthDelimited).string(value).finish();
  const call = grpc.makeBidiStreamRequest<Buffer, Buffer>(
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    asIs,
    asIs,
    new Metadata(),
    { deadline: Date.now() + DEADLINE_MS },
  );
  call.end(Buffer.from(request));
  for await (const response of call) return response as Buffer;
  throw new Error('the reflection stream ended without an answer');
}

/** The files come in no particular order; a registry wants imports first. */
function registryOf(files: readonly Uint8Array[]): FileRegistry {
  const known = new Map(
    files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes)).map((file) => [file.name, file]),
  );
  const ordered = new Set<FileDescriptorProto>();
  const visit = (name: string): void => {
    const file = known.get(name);
    if (file === undefined || ordered.has(file)) return;
    file.dependency.forEach(visit);
    ordered.add(file);
  };
  for (const name of known.keys()) visit(name);
  return createFileRegistry(create(FileDescriptorSetSchema, { file: [...ordered] }));
}

/** `google.rpc.Status.details` (3) holds an `Any`, whose value (2) is an `ErrorInfo`: reason (1), domain (2). */
function wireError(error: ServiceError): WireError {
  const code = status[error.code] ?? String(error.code);
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const [info] = bytes === undefined ? [] : bytesAt(bytes as Buffer, [3, 2]);
  const [reason] = info === undefined ? [] : stringsAt(info, [1]);
  const [domain] = info === undefined ? [] : stringsAt(info, [2]);
  return new WireError(code, reason, domain, error.details);
}

/** The contents of a length-delimited field, at any depth. */
function bytesAt(message: Uint8Array, [field, ...deeper]: readonly number[]): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === field && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type, number);
  }
  return deeper.length === 0 ? found : found.flatMap((inner) => bytesAt(inner, deeper));
}

function stringsAt(message: Uint8Array, path: readonly number[]): string[] {
  return bytesAt(message, path).map((bytes) => Buffer.from(bytes).toString('utf8'));
}

function numbersAt(message: Uint8Array, field: number): number[] {
  const reader = new BinaryReader(message);
  const found: number[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === field && type === WireType.Varint) found.push(reader.int32());
    else reader.skip(type, number);
  }
  return found;
}

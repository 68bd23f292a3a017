import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { create } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { EchoService } from './fixtures/echo_pb.js';
import { createSilentLog, implement, startGrpcServer } from './index.js';

interface ReflectionResponse {
  listServicesResponse?: { service: { name: string }[] };
  fileDescriptorResponse?: { fileDescriptorProto: Buffer[] };
  errorResponse?: { errorCode: number };
}

test('a client without our .proto files learns services and messages by reflection', async () => {
  const impl = implement(EchoService, { echo: async () => ({}), count: async function* () {} });
  const log = createSilentLog();
  await using server = await startGrpcServer({ host: '127.0.0.1', port: 0, services: [impl], log });
  const ask = await reflectionClient(server.address);

  const { listServicesResponse } = await ask({ listServices: '*' });
  assert.deepEqual(listServicesResponse?.service, [{ name: EchoService.typeName }]);

  const { fileDescriptorResponse } = await ask({ fileContainingSymbol: EchoService.typeName });
  const file = (fileDescriptorResponse?.fileDescriptorProto ?? []).map((bytes) =>
    fromBinary(FileDescriptorProtoSchema, bytes),
  );
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: file.reverse() }));
  const learned = registry.getService(EchoService.typeName);
  assert.deepEqual(
    learned?.methods.map((method) => [
      method.name,
      method.methodKind,
      method.output.fields.map((f) => f.name),
    ]),
    EchoService.methods.map((method) => [
      method.name,
      method.methodKind,
      method.output.fields.map((f) => f.name),
    ]),
  );

  const { errorResponse } = await ask({ fileContainingSymbol: 'no.such.Thing' });
  assert.equal(errorResponse?.errorCode, 5);
});

async function reflectionClient(address: string) {
  const require = createRequire(import.meta.url);
  const reflectionRequire = createRequire(require.resolve('@grpc/reflection'));
  const loader = reflectionRequire('@grpc/proto-loader') as typeof import('@grpc/proto-loader');
  const proto = join(
    dirname(require.resolve('@grpc/reflection')),
    '../proto/grpc/reflection/v1/reflection.proto',
  );
  const definition = loader.loadSync(proto, { bytes: Buffer, oneofs: true });
  const service = definition[
    'grpc.reflection.v1.ServerReflection'
  ] as import('@grpc/proto-loader').ServiceDefinition;
  const { path, requestSerialize, responseDeserialize } = service['ServerReflectionInfo'];
  return async (request: object): Promise<ReflectionResponse> => {
    const client = new Client(address, credentials.createInsecure());
    const stream = client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
    ) as ClientDuplexStream<object, ReflectionResponse>;
    try {
      stream.write(request);
      stream.end();
      for await (const response of stream) return response as ReflectionResponse;
      throw new Error('the reflection stream ended without a response');
    } finally {
      client.close();
    }
  };
}

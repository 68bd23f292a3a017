import { toBinary } from '@bufbuild/protobuf';
import type { DescFile, DescService } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { ReflectionService } from '@grpc/reflection';
import type { Server } from '@grpc/grpc-js';

type Definition = ConstructorParameters<typeof ReflectionService>[0][string];

/**
 * Adds gRPC server reflection (v1 and v1alpha) for protobuf-es services, so that `grpcurl` and the conformance kit
 * can talk to a service without its `.proto` files. `@grpc/reflection` reads nothing of a package definition but
 * the serialised file descriptors, which is why an entry a service with only those suffices.
 */
export function addReflection(server: Server, services: readonly DescService[]): void {
  const files = withDependencies(services.map((service) => service.file));
  const fileDescriptorProtos = files.map((file) =>
    Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)),
  );
  const format = 'Protocol Buffer 3 EnumDescriptorProto';
  const definition: Definition = { format, type: {}, fileDescriptorProtos };
  const names = services.map((service) => service.typeName);
  const entries = Object.fromEntries(names.map((name) => [name, definition]));
  new ReflectionService(entries, { services: names }).addToServer(server);
}

/** The files and everything they import, each once, imports first. */
function withDependencies(files: readonly DescFile[]): DescFile[] {
  const found = new Set<DescFile>();
  const visit = (file: DescFile): void => {
    if (found.has(file)) return;
    file.dependencies.forEach(visit);
    found.add(file);
  };
  files.forEach(visit);
  return [...found];
}

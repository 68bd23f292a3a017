import { connect } from 'node:net';
import { Client as GrpcClient, credentials } from '@grpc/grpc-js';

const PROBE_MS = 1000;
/** HealthCheckResponse (grpc.health.v1) with status = SERVING: field 1, varint 1. */
const SERVING = '0801';

/** Whether a gRPC server says SERVING for itself as a whole (grpc.health.v1, service ""). */
export async function isServing(address: string): Promise<boolean> {
  const client = new GrpcClient(address, credentials.createInsecure());
  try {
    const answer = await new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        (request: Buffer) => request,
        (response: Buffer) => response,
        Buffer.alloc(0),
        { deadline: Date.now() + PROBE_MS },
        (error, response) => (error ? reject(error) : resolve(response ?? Buffer.alloc(0))),
      );
    });
    return answer.toString('hex') === SERVING;
  } finally {
    client.close();
  }
}

/** Whether a nats-server with JetStream answers: it greets every connection with `INFO {…}`. */
export async function isNatsReady(host: string, port: number): Promise<boolean> {
  const greeting = await new Promise<string>((resolve, reject) => {
    const socket = connect({ host, port, timeout: PROBE_MS });
    socket.once('data', (data) => {
      resolve(data.toString('utf8'));
      socket.destroy();
    });
    socket.once('error', reject);
    socket.once('timeout', () => socket.destroy(new Error(`nothing said within ${PROBE_MS} ms`)));
    socket.once('close', () => reject(new Error('closed without a greeting')));
  });
  return /^INFO .*"jetstream":\s*true/.test(greeting);
}

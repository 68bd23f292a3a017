import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';

const LOOPBACK = '127.0.0.1';

/**
 * Ports on which nothing listens now, all different. They are fixed for the life of a mesh, so that a service that is
 * started again answers where it did before.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listen));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function listen(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, LOOPBACK, () => resolve(server));
  });
}

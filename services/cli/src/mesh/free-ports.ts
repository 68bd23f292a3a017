import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';

const LOOPBACK = '127.0.0.1';
/**
 * Below the ports that systems hand out for port 0 and for outgoing connections (from 32768 on Linux, from 49152 by IANA):
 * one of those may be taken by anybody between this look and its use.
 */
const RANGE = { lowest: 15_000, highest: 32_000 };

/**
 * Ports on which nothing listens now, all different. They are fixed for the life of a mesh, so that a service that is
 * started again answers where it did before.
 *
 * @param random - uniform in [0, 1)
 */
export async function freePorts(count: number, random: () => number = Math.random): Promise<number[]> {
  const servers: Server[] = [];
  while (servers.length < count) {
    const port = RANGE.lowest + Math.floor(random() * (RANGE.highest - RANGE.lowest));
    const server = await listen(port);
    if (server) servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** `undefined` if the port is taken. */
function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(port, LOOPBACK, () => resolve(server));
  });
}

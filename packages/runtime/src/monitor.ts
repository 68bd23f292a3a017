import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from './metrics.js';
import { listenError } from './listen-error.js';
import type { ListenAddress } from './config.js';
import type { Log } from './log.js';

/** What a monitor shows. */
export interface MonitorOptions {
  listen: ListenAddress;
  registry: Registry;
  /** Why the service does not take work, or `undefined` if it does. */
  notReady: () => string | undefined;
  log: Log;
}

/** The HTTP server by which a cluster looks at a service. */
export interface Monitor extends AsyncDisposable {
  readonly port: number;
}

/**
 * Serves, over plain HTTP and without a login, nothing that is secret:
 *
 * - `GET /livez`: 200 while the process answers; says nothing of what it depends on
 * - `GET /readyz`: 200 if it takes work, else 503 with the reason
 * - `GET /metrics`: Prometheus text
 *
 * @throws ParleyError PORT_IN_USE, ADDRESS_UNUSABLE
 */
export async function startMonitor({ listen, registry, notReady, log }: MonitorOptions): Promise<Monitor> {
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    switch (path) {
      case '/livez':
        return send(response, 200, 'ok\n');
      case '/readyz': {
        const reason = notReady();
        return reason === undefined ? send(response, 200, 'ok\n') : send(response, 503, `${reason}\n`);
      }
      case '/metrics':
        return send(response, 200, await registry.metrics(), registry.contentType);
      default:
        return send(response, 404, 'There is /livez, /readyz and /metrics\n');
    }
  };
  const server = createServer((request, response) => {
    const [path = ''] = (request.url ?? '').split('?', 1);
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'Only GET\n');
    answer(path, response).catch((error: unknown) => {
      log.error({ err: error, path }, 'the monitor could not answer');
      send(response, 500, 'failed; the log says why\n');
    });
  });
  server.requestTimeout = 10_000;
  await listening(server, listen);
  const { port } = server.address() as AddressInfo;
  log.info({ monitor: `${listen.host}:${port}` }, 'monitor listens');
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  if (response.headersSent) return void response.end();
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text);
}

async function listening(server: Server, { host, port }: ListenAddress): Promise<void> {
  server.listen(port, host.replace(/^\[|\]$/g, ''));
  try {
    await once(server, 'listening');
  } catch (error) {
    throw listenError(error as Error, host, port);
  }
}

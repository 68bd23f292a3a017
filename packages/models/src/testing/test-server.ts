import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import type { Asked, Fault, FaultPlan } from './faults.js';

/** A server on loopback that ends with the test. */
export interface TestServer {
  readonly url: string;
  /** Every request, in order. */
  readonly asked: Asked[];
  /** Those for a file, by the end of its path. */
  askedFor(end: string): Asked[];
}

/** One request with what is to go wrong with it. */
export interface Exchange {
  asked: Asked;
  url: URL;
  request: IncomingMessage;
  response: ServerResponse;
  fault: Fault | undefined;
}

/** Starts a server for one test. */
export async function startTestServer(
  t: TestContext,
  plan: FaultPlan,
  handle: (exchange: Exchange) => Promise<void>,
): Promise<TestServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://server');
    const { range, authorization } = request.headers;
    const call = {
      method: request.method ?? '',
      path: decodeURIComponent(url.pathname),
      range,
      authorization,
    };
    asked.push(call);
    const times = asked.filter(({ path, method }) => path === call.path && method === call.method).length;
    handle({ asked: call, url, request, response, fault: plan(call, times) }).catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    askedFor: (end) => asked.filter(({ path }) => path.endsWith(end)),
  };
}

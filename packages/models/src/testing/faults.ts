import type { ServerResponse } from 'node:http';

/** What goes wrong with an answer, in place of a good one. */
export type Fault =
  /** The connection breaks after so many bytes of the body. */
  | { kind: 'break'; afterBytes: number }
  /** Nothing comes after so many bytes, and the connection stays. */
  | { kind: 'stall'; afterBytes: number }
  /** A whole answer in which every byte is another. */
  | { kind: 'wrong-bytes' }
  /** A whole answer that is shorter, and says so. */
  | { kind: 'truncate'; bytes: number }
  | { kind: 'status'; status: number; headers?: Record<string, string>; body?: string };

/** A request as a test sees it. */
export interface Asked {
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** Which request goes wrong: `times` is how often this path was asked for, this time included. */
export type FaultPlan = (asked: Asked, times: number) => Fault | undefined;

/** Answers with content from a byte on, as a file server does, or as the fault has it. */
export function answerWith(
  response: ServerResponse,
  content: Buffer,
  { range, method }: Asked,
  fault: Fault | undefined,
  headers: Record<string, string>,
): void {
  if (fault?.kind === 'status') return void response.writeHead(fault.status, fault.headers).end(fault.body);
  const from = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
  if (range !== undefined && from >= content.length)
    return void response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
  let body = content.subarray(from);
  if (fault?.kind === 'truncate') body = body.subarray(0, Math.max(0, fault.bytes - from));
  if (fault?.kind === 'wrong-bytes') body = Buffer.from(body.map((byte) => byte ^ 0x55));
  response.writeHead(range === undefined ? 200 : 206, {
    ...headers,
    'content-length': body.length,
    ...(range !== undefined && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
  });
  if (method === 'HEAD') return void response.end();
  if (fault?.kind !== 'break' && fault?.kind !== 'stall') return void response.end(body);
  response.write(body.subarray(0, fault.afterBytes), () => {
    if (fault.kind === 'break') setTimeout(() => response.destroy(), 30);
  });
}

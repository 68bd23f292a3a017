import { open } from 'node:fs/promises';
import { systemCode } from '@parley/runtime';

const TAIL_BYTES = 16 * 1024;

/** The last lines of a service's log, readable: JSON lines as `level message: cause`, others as they are. */
export async function readLogTail(path: string, maxLines = 6): Promise<string[]> {
  const lines = (await readEnd(path)).split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-maxLines).map(describeLogLine);
}

async function readEnd(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    const start = Math.max(0, size - TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    const text = buffer.toString('utf8', 0, bytesRead);
    return start === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  }
}

/** A pino line for people. Lines that are not JSON objects with a message come back unchanged. */
export function describeLogLine(line: string): string {
  const fields = parseObject(line);
  if (typeof fields?.['msg'] !== 'string') return line;
  const err = fields['err'] as { message?: unknown } | undefined;
  const cause = typeof err?.message === 'string' ? `: ${err.message}` : '';
  return `${String(fields['level'])} ${fields['msg']}${cause}`;
}

function parseObject(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

import { statfs } from 'node:fs/promises';
import { ParleyError } from '@parley/runtime';
import { size } from './fetch-observer.js';

/** What is about to be fetched. */
export interface Plan {
  label: string;
  /** Where to. */
  folder: string;
  /** Undefined where a server does not say. */
  totalBytes: number | undefined;
  presentBytes: number;
}

/** @throws ParleyError MESSAGE_TOO_LARGE or DISK_FULL, with the arithmetic, before anything is fetched */
export async function requireRoom(
  { label, folder, totalBytes, presentBytes }: Plan,
  maxBytes = Infinity,
): Promise<void> {
  if (totalBytes === undefined) return;
  if (totalBytes > maxBytes) {
    const message = `${label} has ${totalBytes} bytes (${size(totalBytes)}), more than the ${maxBytes} that are allowed; raise PARLEY_MODEL_MAX_BYTES`;
    throw new ParleyError('MESSAGE_TOO_LARGE', message, { details: { label, bytes: String(totalBytes) } });
  }
  const { bavail, bsize } = await statfs(folder);
  const [needed, free] = [totalBytes - presentBytes, bavail * bsize];
  if (needed <= free) return;
  const message = `${label} needs ${size(needed)} more in ${folder}, where ${size(free)} are free; make room there, or choose another folder`;
  throw new ParleyError('DISK_FULL', message, {
    details: { folder, needed: String(needed), free: String(free) },
  });
}

import { freePorts } from '@parley/cli';

/** A port of the loopback on which nothing listens now, and that nobody is handed by chance. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

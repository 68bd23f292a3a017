import { constants, access, statfs } from 'node:fs/promises';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { findNatsServer } from '@parley/bus';
import type { Cli } from '../cli.js';
import { ok, problem, warning } from './finding.js';
import type { Finding } from './finding.js';

const FEW_GIGABYTES = 2;

/** What a mesh on this machine would find: Node, memory, disk, nats-server. */
export async function checkMachine(cli: Pick<Cli, 'env' | 'signal'>, state: string): Promise<Finding[]> {
  return [
    ok(
      'node',
      `${process.versions.node} on ${process.platform} ${process.arch}, ${availableParallelism()} cores`,
    ),
    memory(),
    await disk(state),
    await natsServer(cli),
  ];
}

function memory(): Finding {
  const [free, total] = [freemem(), totalmem()].map((bytes) => bytes / 1e9) as [number, number];
  const detail = `${free.toFixed(1)} of ${total.toFixed(1)} GB free`;
  return free < FEW_GIGABYTES
    ? warning('memory', detail, 'models need room; close what else runs')
    : ok('memory', detail);
}

async function disk(state: string): Promise<Finding> {
  const folder = await nearest(state);
  const { bavail, bsize } = await statfs(folder);
  const free = (bavail * bsize) / 1e9;
  const detail = `${free.toFixed(1)} GB free in ${folder}`;
  if (free < FEW_GIGABYTES)
    return warning('disk', detail, 'make room, or choose another folder with --state');
  return ok('disk', detail);
}

/** The closest folder above that exists. */
async function nearest(path: string): Promise<string> {
  try {
    await access(path, constants.R_OK);
    return path;
  } catch {
    return dirname(path) === path ? path : nearest(dirname(path));
  }
}

async function natsServer({ env, signal }: Pick<Cli, 'env' | 'signal'>): Promise<Finding> {
  try {
    const { path, version } = await findNatsServer({ env, signal, say: () => undefined });
    return ok('nats-server', `${version} at ${path}`);
  } catch (error) {
    return problem('nats-server', 'not found', (error as Error).message);
  }
}

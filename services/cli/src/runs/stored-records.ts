import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '@parley/runtime';
import type { StateFolder } from '../mesh/state-folder.js';
import type { RunRecord } from './run-record.js';

/** The records of finished runs in a state folder, newest first. Folders of runs that never finished hold none. */
export async function storedRecords(state: StateFolder): Promise<RunRecord[]> {
  const folder = state.run('');
  const records = await Promise.all(
    (await entries(folder)).map((name) => readRecord(join(folder, name, 'record.json'))),
  );
  return records
    .filter((record) => record !== undefined)
    .sort((a, b) => b.startTime.localeCompare(a.startTime));
}

async function entries(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function readRecord(path: string): Promise<RunRecord | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as RunRecord;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

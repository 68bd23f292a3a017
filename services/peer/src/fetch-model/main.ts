#!/usr/bin/env node
import { PROCESS_FIELDS, ParleyError, createLog, exitCodeOf, readConfig } from '@parley/runtime';
import { FETCH_FIELDS } from './fetch-config.js';
import { fetchModel } from './fetch-model.js';

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => stop.abort(new ParleyError('CANCELLED', `Stopped by ${signal}`)));
try {
  const { logLevel, ...config } = readConfig(process.env, {
    logLevel: PROCESS_FIELDS.logLevel,
    ...FETCH_FIELDS,
  });
  await fetchModel(config, createLog({ service: 'fetch-model', level: logLevel }), stop.signal);
} catch (error) {
  process.stderr.write(`fetch-model: ${ParleyError.from(error).message}\n`);
  process.exitCode = exitCodeOf(error);
}

#!/usr/bin/env node
import { checkpointDigest, copyModel, logObserver, parseModelUri } from '@parley/models';
import { PROCESS_FIELDS, ParleyError, createLog, exitCodeOf, readConfig } from '@parley/runtime';
import { FETCH_FIELDS } from './fetch-config.js';

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => stop.abort(new ParleyError('CANCELLED', `Stopped by ${signal}`)));
try {
  const { logLevel, uri, model, ...settings } = readConfig(process.env, {
    logLevel: PROCESS_FIELDS.logLevel,
    ...FETCH_FIELDS,
  });
  const log = createLog({ service: 'fetch-model', level: logLevel });
  await copyModel(parseModelUri(uri), model, settings, { observer: logObserver(log), signal: stop.signal });
  log.info({ model, sha256: await checkpointDigest(model) }, 'the model is complete');
} catch (error) {
  process.stderr.write(`fetch-model: ${ParleyError.from(error).message}\n`);
  process.exitCode = exitCodeOf(error);
}

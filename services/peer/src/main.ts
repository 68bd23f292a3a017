#!/usr/bin/env node
import { runService } from '@parley/runtime';
import { startPeer } from './app.js';
import { PEER_FIELDS } from './config.js';

await runService({
  name: 'peer',
  fields: PEER_FIELDS,
  async start({ config, log, registry, signal, fail, report }) {
    return startPeer(config, { log: log.child({ peer: config.name }), registry, signal, fail, report });
  },
});

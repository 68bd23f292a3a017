/**
 * A peer in a process of its own that kills itself at a chosen moment of its first commit, for the tests of crashes.
 * `KILL_BEFORE` names the moment: `store` (committed, weights not stored), `publish` (weights stored, version not published)
 * or `acknowledge` (published).
 */
import { createSilentLog, readConfig } from '@parley/runtime';
import { startPeer } from './app.js';
import { PEER_FIELDS } from './config.js';

const moment = process.env['KILL_BEFORE'];

function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}

await startPeer(readConfig(process.env, PEER_FIELDS), {
  log: createSilentLog(),
  fail: (error) => {
    throw error;
  },
  wrapWeights: (inner) => ({ ...inner, put: (content) => (moment === 'store' ? die() : inner.put(content)) }),
  wrapVersions: (inner) => ({
    ...inner,
    async publish(committed) {
      if (moment === 'publish') await die();
      await inner.publish(committed);
      if (moment === 'acknowledge') await die();
    },
  }),
});

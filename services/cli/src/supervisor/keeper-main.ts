/** The keeper's process: started by the supervisor, never by a person. See `keeper.ts`. */
import { sleep } from '@parley/runtime';
import { keepWatch } from './keeper.js';
import { signalGroup } from './process-group.js';

// Ctrl-C and a closed terminal are for the supervisor to answer; the keeper ends when the supervisor does.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

await keepWatch(process.stdin, {
  kill: (pid, signal) => void signalGroup(pid, signal),
  isAlive: (pid) => signalGroup(pid, 0),
  sleep,
});

import {
  MIN_CLUSTERED_NATS_VERSION,
  MIN_NATS_VERSION,
  checkTopology,
  isOlder,
  wholeTopology,
} from '@parley/bus';
import type { Bus } from '@parley/bus';
import { clockFinding } from './check-clock.js';
import { ok, problem, unknown, warning } from './finding.js';
import type { Finding } from './finding.js';

/** What of a store that is used up is worth a word, and what is urgent. */
const FILLING = 0.8;
const FULL = 0.95;

/**
 * The server, its streams and consumers, as far as this client may look.
 *
 * @param peers - names of the peers that have announced themselves
 */
export async function checkNats(bus: Bus, peers: readonly string[], nowMs: () => number): Promise<Finding[]> {
  return [
    await checkServer(bus),
    ...(await checkStorage(bus)),
    ...(await checkStreams(bus, peers)),
    ...(await checkLags(bus, peers)),
    ...(await checkServerClock(bus, nowMs)),
  ];
}

async function checkServer(bus: Bus): Promise<Finding> {
  const { version = 'unknown', server_name: name = '', cluster } = bus.connection.info ?? {};
  const oldest = cluster === undefined ? MIN_NATS_VERSION : MIN_CLUSTERED_NATS_VERSION;
  const clustered = cluster === undefined ? '' : ` in cluster ${cluster}`;
  const roundTripMs = await bus.connection.rtt();
  const detail = `${name} ${version}${clustered} (oldest supported: ${oldest}), ${roundTripMs} ms away`;
  if (!isOlder(version, oldest)) return ok('nats', detail);
  return problem(
    'nats',
    detail,
    'upgrade it: when servers end, a cluster of this version can pass over messages',
  );
}

async function checkStorage(bus: Bus): Promise<Finding[]> {
  const { storage, limits } = await bus.jsm.getAccountInfo();
  const most = limits.max_storage;
  if (most <= 0) return [ok('nats storage', `${megabytes(storage)} used, no limit on the account`)];
  const share = storage / most;
  const detail = `${megabytes(storage)} of ${megabytes(most)} used`;
  if (share < FILLING) return [ok('nats storage', detail)];
  const advice = 'give JetStream more room, or let events and results expire (`parley topology`)';
  return [share < FULL ? warning('nats storage', detail, advice) : problem('nats storage', detail, advice)];
}

async function checkStreams(bus: Bus, peers: readonly string[]): Promise<Finding[]> {
  const scope = wholeTopology(peers);
  const problems = await checkTopology(bus, scope);
  const known = [...scope.streams, ...scope.consumers.map(({ stream, durable }) => `${stream}/${durable}`)];
  if (problems.length === 0) return [ok('streams', `${known.join(', ')} are as they should be`)];
  return problems.map(({ name, setting, found, wanted }) =>
    setting === 'missing'
      ? problem(
          name,
          'missing',
          `make it: \`parley topology${peers.map((peer) => ` --peer ${peer}`).join('')}\``,
        )
      : problem(name, `${setting} is ${found}, but ${wanted} is needed`, 'rename or remove it'),
  );
}

async function checkLags(bus: Bus, peers: readonly string[]): Promise<Finding[]> {
  const lags = await Promise.all(
    wholeTopology(peers).consumers.map(async ({ stream, durable }) => {
      const { num_pending, num_ack_pending, num_redelivered } = await bus.jsm.consumers.info(stream, durable);
      const detail = `${num_pending} waiting, ${num_ack_pending} under way, ${num_redelivered} delivered again`;
      return num_redelivered === 0
        ? ok(`lag of ${durable}`, detail)
        : warning(
            `lag of ${durable}`,
            detail,
            'something fails again and again; the log of the service says what',
          );
    }),
  );
  return lags;
}

async function checkServerClock(bus: Bus, nowMs: () => number): Promise<Finding[]> {
  const before = nowMs();
  const { ts } = (await bus.jsm.streams.info('EVENTS')) as { ts?: string };
  if (ts === undefined) return [unknown('clock of nats', 'nats-server before 2.10 does not tell its time')];
  return [clockFinding('nats', Date.parse(ts), before, nowMs())];
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

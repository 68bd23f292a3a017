import { Command } from 'commander';
import { BUCKETS, checkTopology, ensureTopology, openKv, wholeTopology } from '@parley/bus';
import type { Bus, TopologyProblem } from '@parley/bus';
import { ParleyError, isParleyError } from '@parley/runtime';
import { PeerAnnouncementSchema } from '@parley/contracts';
import type { Cli } from '../cli.js';
import { openBus } from '../mesh/open-bus.js';
import { plural } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import { addJson, addState, durationOption, fromCwd, peerOption, wholeNumber } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface TopologyCommandOptions extends CommonOptions {
  peer?: string[];
  replicas: number;
  eventsAge: number;
  resultsAge: number;
  maxBytes?: number;
  lease: number;
  check?: boolean;
}

/** `parley topology`. */
export function topologyCommand(cli: Cli): Command {
  const command = new Command('topology')
    .summary('make the streams, consumers and buckets of a mesh')
    .description(
      'Makes whatever is missing in NATS for a mesh to work: streams, consumers, buckets, and a store for each peer. What ' +
        'is there already keeps its limits. For deployments whose services may not do it themselves ' +
        '(PARLEY_NATS_TOPOLOGY=wait). NATS is that of PARLEY_NATS_URL, else of the mesh that is up here.',
    )
    .addOption(peerOption('name of a peer that gets a store and a consumer (repeatable)'))
    .option('--replicas <number>', 'copies of every stream in a cluster of NATS', wholeNumber(1), 1)
    .addOption(
      durationOption(
        '--events-age <duration>',
        'age after which events are forgotten; 0ms for never',
        '720h',
      ),
    )
    .addOption(
      durationOption(
        '--results-age <duration>',
        'age after which results are forgotten, longer than any run; 0ms for never',
        '0ms',
      ),
    )
    .option('--max-bytes <bytes>', 'most bytes of a stream; no limit unless given', wholeNumber(1))
    .addOption(
      durationOption('--lease <duration>', 'time after which the lease of a dead coordinator is free', '10s'),
    )
    .option('--check', 'make nothing: say what is missing or different, and exit with 1 if anything is');
  addState(addJson(command, 'what is missing or different'));
  return command.action(async (options: TopologyCommandOptions) => topology(cli, options));
}

async function topology(cli: Cli, options: TopologyCommandOptions): Promise<void> {
  const { peer: peers = [], check, json } = options;
  await using bus = await openBus({
    state: fromCwd(cli, options.state),
    env: cli.env,
    identity: { role: check ? 'operator' : 'topology' },
  });
  if (bus === undefined) {
    throw new ParleyError(
      'CONFIG_INVALID',
      'No NATS is named: set PARLEY_NATS_URL, or bring a mesh up with `parley up`',
    );
  }
  if (!check) await make(bus, options);
  const problems = await checkTopology(bus, wholeTopology(peers));
  if (json) cli.out(JSON.stringify({ problems }));
  else cli.out(problems.length === 0 ? describe(bus, peers) : render(problems));
  if (problems.length === 0) return;
  throw new ParleyError(
    'STREAM_MISSING',
    `${plural(problems.length, 'part')} of the topology missing or different`,
  );
}

async function make(bus: Bus, options: TopologyCommandOptions): Promise<void> {
  const { peer: peers = [], replicas, eventsAge, resultsAge, maxBytes = -1, lease } = options;
  await ensureTopology(bus, {
    peers,
    replicas,
    eventsMaxAgeMs: eventsAge,
    resultsMaxAgeMs: resultsAge,
    maxBytes,
    leaseTtlMs: lease,
  });
  await declare(bus, peers);
}

/** Makes peers known before they start for the first time, so that a run may want them; what a peer announced is left alone. */
async function declare(bus: Bus, peers: readonly string[]): Promise<void> {
  const announcements = await openKv(bus, BUCKETS.peers, PeerAnnouncementSchema);
  for (const name of peers) {
    await announcements.create(name, { name }).catch((error: unknown) => {
      if (!isParleyError(error, 'REVISION_CONFLICT')) throw error;
    });
  }
}

function describe(bus: Bus, peers: readonly string[]): string {
  const { streams, buckets, stores, consumers } = wholeTopology(peers);
  const parts = [
    plural(streams.length, 'stream'),
    plural(consumers.length, 'consumer'),
    plural(buckets.length, 'bucket'),
    plural(stores.length, 'store'),
  ];
  return `Complete at ${bus.url}: ${parts.join(', ')}`;
}

function render(problems: readonly TopologyProblem[]): string {
  return renderTable(
    [{ heading: 'what' }, { heading: 'setting' }, { heading: 'found' }, { heading: 'wanted' }],
    problems.map(({ name, setting, found, wanted }) => [name, setting, found, wanted]),
  );
}

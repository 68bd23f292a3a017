import { timestampMs } from '@bufbuild/protobuf/wkt';
import { STREAMS, filters, natsBlobs, readLast } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { VersionCommittedSchema } from '@parley/contracts';
import type { CoordinatorService, DescribeResponse, PeerStatus } from '@parley/contracts';
import type { Client } from '@parley/runtime';
import { clockFinding } from './check-clock.js';
import { ok, problem, unknown, warning } from './finding.js';
import type { Finding } from './finding.js';

/** Share of its memory that a peer may have before it is worth a word. */
const MEMORY_FULL = 0.9;

/** What looking at the peers gives. */
export interface PeersChecked {
  /** host:port by name. */
  addresses: Map<string, string>;
  findings: Finding[];
}

/** The peers that have announced themselves, as the coordinator sees them, and what NATS knows of their versions. */
export async function checkPeers(
  coordinator: Client<typeof CoordinatorService>,
  bus: Bus | undefined,
  nowMs: () => number,
): Promise<PeersChecked> {
  const askedMs = nowMs();
  const { peers } = await coordinator.listPeers({});
  const answeredMs = nowMs();
  const found = ok('coordinator', `${coordinator.address} answers in ${answeredMs - askedMs} ms`);
  if (peers.length === 0) {
    const none = problem(
      'peers',
      'nobody has announced itself',
      'start a peer; its log says why it does not come up',
    );
    return { addresses: new Map(), findings: [found, none] };
  }
  const each = await Promise.all(
    peers.map(async (status) => [
      ...(await checkPeer(status, bus)),
      ...checkClock(status, askedMs, answeredMs),
    ]),
  );
  const addresses = new Map(
    peers.map(({ announcement }) => [announcement?.name ?? '', announcement?.address ?? '']),
  );
  return { addresses, findings: [found, ...each.flat()] };
}

async function checkPeer(status: PeerStatus, bus: Bus | undefined): Promise<Finding[]> {
  const { announcement, description, runId } = status;
  const subject = `peer ${announcement?.name}`;
  if (description === undefined) {
    const address = announcement?.address ?? '';
    const detail = address === '' ? 'has never started' : `does not answer at ${address}`;
    if (runId === '')
      return [warning(subject, detail, 'no run needs it now; unless it is scaled to zero, look at its log')];
    const advice = 'look at its log; a run with a quorum goes on without it, any other waits';
    return [problem(subject, detail, advice)];
  }
  const { architecture, device, version, trainingMethod } = description;
  const where = runId === '' ? '' : `, learns in run ${runId}`;
  const detail = `version ${version}, ${architecture} on ${device}, trains ${trainingMethod}${where}`;
  return [
    ok(subject, detail),
    checkMemory(subject, description),
    ...(await checkVersion(subject, description, bus)),
  ];
}

function checkMemory(subject: string, { residentBytes, memoryLimitBytes }: DescribeResponse): Finding {
  const name = `memory of ${subject}`;
  if (memoryLimitBytes === 0n) return unknown(name, 'the peer does not say');
  const share = Number(residentBytes) / Number(memoryLimitBytes);
  const gigabytes = (bytes: bigint) => (Number(bytes) / 1e9).toFixed(2);
  const detail = `${gigabytes(residentBytes)} of ${gigabytes(memoryLimitBytes)} GB (${Math.round(share * 100)} %)`;
  if (share < MEMORY_FULL) return ok(name, detail);
  return warning(name, detail, 'raise the limit of its container, or lower PARLEY_MAX_BATCH');
}

/** A peer that serves less than it has published has lost its state. */
async function checkVersion(
  subject: string,
  { name, version, weightsSha256 }: DescribeResponse,
  bus: Bus | undefined,
): Promise<Finding[]> {
  if (bus === undefined) return [];
  const last = await readLast(bus, {
    stream: STREAMS.versions,
    schema: VersionCommittedSchema,
    blobs: natsBlobs(bus),
    subject: filters.versions(name),
  });
  const published = last?.message;
  if (published === undefined) return [];
  if (published.version > version) {
    const detail = `serves version ${version}, but has published ${published.version}`;
    return [problem(subject, detail, 'give it its latest state folder back, or another name to start anew')];
  }
  if (published.version === version && published.weights?.sha256 !== weightsSha256) {
    const detail = `serves other weights for version ${version} than it published`;
    return [
      problem(subject, detail, 'two processes share its state folder, or it was exchanged; stop one of them'),
    ];
  }
  return [];
}

function checkClock(
  { announcement, description }: PeerStatus,
  askedMs: number,
  answeredMs: number,
): Finding[] {
  const name = `peer ${announcement?.name}`;
  if (description === undefined) return [];
  if (description.time === undefined) return [unknown(`clock of ${name}`, 'the peer does not say')];
  return [clockFinding(name, timestampMs(description.time), askedMs, answeredMs)];
}

import { PeerService } from '@parley/contracts';
import type { ChannelCredentials } from '@grpc/grpc-js';
import type { DescribeResponse } from '@parley/contracts';
import { createClient } from '@parley/runtime';
import type { Client } from '@parley/runtime';

/** A peer by name, with the connection to it. */
export interface ConnectedPeer {
  name: string;
  client: Client<typeof PeerService>;
}

/** Connections to peers, closed together. */
export interface PeerClients extends Disposable {
  readonly peers: readonly ConnectedPeer[];
  /** Descriptions in the order of the peers. @throws ParleyError naming the peer that does not answer */
  describe(signal: AbortSignal): Promise<DescribeResponse[]>;
}

const DESCRIBE_DEADLINE_MS = 10_000;

/** Connects to peers by name and host:port, in the order given; in plain text where there are no credentials. */
export function connectPeers(
  addresses: Iterable<readonly [name: string, address: string, credentials?: ChannelCredentials | undefined]>,
): PeerClients {
  const peers = [...addresses].map(([name, address, credentials]) => ({
    name,
    client: createClient(PeerService, address, {
      deadlineMs: DESCRIBE_DEADLINE_MS,
      label: `peer ${name}`,
      ...(credentials && { credentials }),
    }),
  }));
  return {
    peers,
    describe: (signal) => Promise.all(peers.map(({ client }) => client.describe({}, { signal }))),
    [Symbol.dispose]() {
      for (const { client } of peers) client.close();
    },
  };
}

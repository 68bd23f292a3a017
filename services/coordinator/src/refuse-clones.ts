import type { DescribeResponse } from '@parley/contracts';
import { createRoundCrew } from '@parley/mesh';
import type { PeerHandle } from '@parley/mesh';
import { ParleyError } from '@parley/runtime';

/**
 * Refuses peers that are one model under several names: the same checkpoint with the same trained weights.
 *
 * @throws ParleyError PEERS_ALIKE naming them
 */
export function refuseClones(
  described: readonly Pick<DescribeResponse, 'name' | 'version' | 'baseSha256' | 'weightsSha256'>[],
): void {
  const known = described.filter(({ weightsSha256 }) => weightsSha256 !== '');
  const groups = known.map(({ baseSha256, weightsSha256 }) =>
    known.filter((peer) => peer.baseSha256 === baseSha256 && peer.weightsSha256 === weightsSha256),
  );
  const alike = groups.find((group) => group.length > 1);
  if (alike === undefined) return;
  const names = alike.map(({ name }) => name).join(' and ');
  throw new ParleyError(
    'PEERS_ALIKE',
    `Peers ${names} have the same weights (SHA-256 ${alike[0].weightsSha256}): they share their mistakes, agree on them, and ` +
      'teach them to one another. Let different models take part, or set guards.allowClones to true if that is what you want ' +
      'to see',
    { details: { peers: alike.map(({ name }) => name).join(',') } },
  );
}

/** Asks the peers of a run that begins, as {@link refuseClones} wants them; with a quorum, those that are there. */
export async function refuseClonesAmong(
  peers: readonly PeerHandle[],
  quorum: number | null,
  signal: AbortSignal,
): Promise<void> {
  const crew = createRoundCrew(peers, quorum, signal);
  const described: DescribeResponse[] = [];
  const ask = (peer: number) =>
    crew.work(peer, async (handle, turn) => void described.push(await handle.describeUntilAnswered(turn)));
  try {
    await Promise.all(peers.map((_, peer) => ask(peer)));
  } finally {
    crew.dismiss();
  }
  const place = ({ name }: DescribeResponse) => peers.findIndex((peer) => peer.name === name);
  refuseClones(described.sort((a, b) => place(a) - place(b)));
}

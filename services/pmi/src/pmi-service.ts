import type { PmiService, RoundItem, ScoreRoundRequest } from '@parley/contracts';
import { recipeFromMessage } from '@parley/mesh';
import type { PeerDirectory } from '@parley/mesh';
import { ParleyError } from '@parley/runtime';
import type { RolePolicy, ServiceImpl } from '@parley/runtime';
import { buildUpdates } from './build-updates.js';
import { scoreRound } from './score-round.js';
import type { ScoringTask, ScoringTools } from './score-round.js';

/** What the RPC works on. */
export interface PmiServiceParts {
  directory: PeerDirectory;
  tools: ScoringTools;
}

/** Who may ask, where the mesh has certificates. */
export const PMI_POLICY: RolePolicy<typeof PmiService> = { scoreRound: ['coordinator', 'operator'] };

/** `parley.v1.PmiService`: scores a round without publishing anything. */
export function createPmiService({ directory, tools }: PmiServiceParts): ServiceImpl<typeof PmiService> {
  return {
    scoreRound: async (request, { signal }) => {
      await directory.refresh();
      const task = checkTask(request, directory);
      const scored = await scoreRound(task, tools, signal);
      return { scored, updates: buildUpdates(task, scored) };
    },
  };
}

function checkTask({ round, recipe, seed }: ScoreRoundRequest, directory: PeerDirectory): ScoringTask {
  if (round === undefined) throw new ParleyError('REQUEST_INVALID', 'The request has no round to score');
  round.items.forEach((item, index) => checkItem(item, `round.items[${index}]`, round.peers.length));
  const unknown = round.peers.filter(({ name }) => directory.get(name) === undefined).map(({ name }) => name);
  if (unknown.length > 0) {
    throw new ParleyError('PEER_UNKNOWN', `Nobody has announced peer ${unknown.join(', ')}; start it first`, {
      details: { peers: unknown.join(',') },
    });
  }
  return {
    round,
    recipe: recipeFromMessage(recipe, round.peers.length),
    seed,
    stopped: new Set(),
    previous: undefined,
  };
}

/** @throws ParleyError REQUEST_INVALID for an item whose parts do not refer to the peers of its round */
function checkItem({ order, responses, aggregate }: RoundItem, name: string, peers: number): void {
  const refuse = (what: string) => new ParleyError('REQUEST_INVALID', `${name} ${what}`);
  if (responses.length !== peers) throw refuse(`has ${responses.length} responses for ${peers} peers`);
  const isOrder = order.every((peer, index) => peer < peers && order.indexOf(peer) === index);
  if (!isOrder || order.length !== peers) {
    throw refuse(`has the order ${order.join(', ')}; it must name each of the ${peers} peers once, from 0`);
  }
  const author = aggregate?.responsePeer;
  if (author !== undefined && author >= peers)
    throw refuse(`takes its aggregate from peer ${author}, but there are ${peers}, from 0`);
}

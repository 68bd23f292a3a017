import type { PmiService, ScoreRoundRequest } from '@parley/contracts';
import { recipeFromMessage } from '@parley/mesh';
import type { PeerDirectory } from '@parley/mesh';
import { ParleyError } from '@parley/runtime';
import type { ServiceImpl } from '@parley/runtime';
import { buildUpdates } from './build-updates.js';
import { scoreRound } from './score-round.js';
import type { ScoringTask, ScoringTools } from './score-round.js';

/** What the RPC works on. */
export interface PmiServiceParts {
  directory: PeerDirectory;
  tools: ScoringTools;
}

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
  const incomplete = round.items.findIndex((item) => item.responses.length !== round.peers.length);
  if (incomplete >= 0) {
    throw new ParleyError(
      'REQUEST_INVALID',
      `round.items[${incomplete}] has ${round.items[incomplete].responses.length} responses for ${round.peers.length} peers`,
    );
  }
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

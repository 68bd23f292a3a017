/** One call to one peer: the unit that moves through the pipeline. */
export interface Step {
  /** Position in the plan. Earlier steps are preferred where several could run. */
  readonly id: number;
  /**
   * `answer` in the question's order, seeing what came before; `independent`, the extra answer that sees nothing;
   * `judge`, the likelihood of every answer under this peer.
   */
  readonly kind: 'answer' | 'independent' | 'judge';
  /** Index of the peer in the run's list. */
  readonly peer: number;
  /** Indices of the questions in the round, ascending. */
  readonly items: readonly number[];
  /** Ids of the steps that must be over before this one starts. */
  readonly after: readonly number[];
}

/** What a plan depends on. */
export interface RoundShape {
  /** Order of answering of each question, as indices of peers. */
  readonly orders: readonly (readonly number[])[];
  readonly peers: number;
  /** Questions in one call. */
  readonly microBatch: number;
  /** Whether peers see the answers before theirs. */
  readonly sequential: boolean;
  /** Whether peers that saw others also answer alone. */
  readonly independent: boolean;
  /** Whether every peer judges every answer. */
  readonly judged: boolean;
}

/**
 * Cuts a round into calls. Which questions share a call depends on the round alone, never on who is faster: results do
 * not change with timing even if a peer's arithmetic depends on the batch.
 *
 * Questions of equal order are put into the same micro-batch as far as possible. Then a micro-batch is a chain through
 * the peers, and different micro-batches keep different peers busy: with B micro-batches and M peers a fixed order
 * keeps each peer busy for B of B + M − 1 steps, a rotated one for nearly all.
 */
export function planRound(shape: RoundShape): Step[] {
  const steps: Step[] = [];
  const add = (step: Omit<Step, 'id'>): number => steps.push({ ...step, id: steps.length }) - 1;
  const batches = cut(byOrder(shape.orders), shape.microBatch);
  const peers = Array.from({ length: shape.peers }, (_, peer) => peer);
  const answers = batches.map((): number[] => []);
  const previous = batches.map(() => new Map<number, number>());
  // Stage by stage over all batches: a list scheduler then starts the longest chains first.
  for (const stage of peers) {
    batches.forEach((batch, b) => {
      for (const peer of peers) {
        const items = batch.filter((item) => shape.orders[item][stage] === peer);
        if (items.length === 0) continue;
        const after = shape.sequential && stage > 0 ? items.map((item) => previous[b].get(item)!) : [];
        const id = add({ kind: 'answer', peer, items, after: [...new Set(after)] });
        answers[b].push(id);
      }
      for (const id of answers[b]) for (const item of steps[id].items) previous[b].set(item, id);
    });
  }
  if (shape.independent && shape.sequential) {
    for (const batch of batches) {
      for (const peer of peers) {
        // The first to answer saw nothing: its answer is the independent one.
        const items = batch.filter((item) => shape.orders[item][0] !== peer);
        if (items.length > 0) add({ kind: 'independent', peer, items, after: [] });
      }
    }
  }
  if (shape.judged) {
    batches.forEach((items, b) =>
      peers.forEach((peer) => add({ kind: 'judge', peer, items, after: answers[b] })),
    );
  }
  return steps;
}

/** Indices of the questions, grouped by equal order; groups by first appearance, ascending within a group. */
function byOrder(orders: readonly (readonly number[])[]): number[] {
  const groups = new Map<string, number[]>();
  orders.forEach((order, item) => {
    const key = order.join();
    groups.set(key, [...(groups.get(key) ?? []), item]);
  });
  return [...groups.values()].flat();
}

function cut(items: readonly number[], size: number): number[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, i) => items.slice(i * size, (i + 1) * size).sort((a, b) => a - b));
}

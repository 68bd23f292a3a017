import type { Trainable } from './language-model.js';

/** What trains, in words: `full`, or `lora rank 8 alpha 16`, followed by its layers where they are not all. */
export function describeTrainable(train: Trainable): string {
  if (train.kind === 'full') return 'full';
  const layers = train.targets === undefined ? '' : ` layers ${train.targets.join(',')}`;
  return `lora rank ${train.rank} alpha ${train.alpha}${layers}`;
}

/** Reads what {@link describeTrainable} wrote, seed 0; undefined for any other text. */
export function parseTrainable(text: string): Trainable | undefined {
  if (text === 'full') return { kind: 'full' };
  const match = /^lora rank (\d+) alpha (\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?: layers ([\w,]+))?$/.exec(text);
  if (match === null) return undefined;
  const [, rank, alpha, layers] = match;
  const targets = layers === undefined ? {} : { targets: layers.split(',') };
  return { kind: 'lora', rank: Number(rank), alpha: Number(alpha), ...targets, seed: 0 };
}

/** A list of letters. */
export type Letters = readonly string[];

/** The letters that lists are made of, one token each. */
export const LETTERS: Letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];

/** One way to change a list. */
export interface Operation {
  /** How a question asks for it. The word X stands for a letter that is put in. */
  readonly wordings: readonly string[];
  /** The changed list, of one letter at least for a list of two or more, and of one more than before at most. */
  readonly apply: (list: Letters, put: string) => Letters;
}

/** Every operation, by name. */
export const OPERATIONS = {
  reverse: {
    wordings: ['reverse it', 'turn it around'],
    apply: (list) => [...list].reverse(),
  },
  sort: {
    wordings: ['sort it', 'order it'],
    apply: (list) => [...list].sort(),
  },
  'swap-ends': {
    wordings: ['swap the ends', 'exchange head and tail'],
    apply: (list) => [...list.slice(-1), ...list.slice(1, -1), ...list.slice(0, 1)],
  },
  'rotate-left': {
    wordings: ['move the first to the end', 'rotate it left'],
    apply: (list) => [...list.slice(1), ...list.slice(0, 1)],
  },
  'rotate-right': {
    wordings: ['move the last to the front', 'rotate it right'],
    apply: (list) => [...list.slice(-1), ...list.slice(0, -1)],
  },
  'swap-first-two': {
    wordings: ['swap the first two', 'exchange the leading pair'],
    apply: (list) => [...list.slice(0, 2).reverse(), ...list.slice(2)],
  },
  'double-first': {
    wordings: ['double the first', 'write the head twice'],
    apply: (list) => [...list.slice(0, 1), ...list],
  },
  'double-last': {
    wordings: ['double the last', 'write the tail twice'],
    apply: (list) => [...list, ...list.slice(-1)],
  },
  'every-second': {
    wordings: ['skip every second', 'take only odd places'],
    apply: (list) => list.filter((_, i) => i % 2 === 0),
  },
  'put-second': {
    wordings: ['put X second', 'insert X behind the head'],
    apply: (list, put) => [...list.slice(0, 1), put, ...list.slice(1)],
  },
  'drop-first': {
    wordings: ['drop the first', 'remove the head'],
    apply: (list) => list.slice(1),
  },
  'drop-last': {
    wordings: ['drop the last', 'remove the tail'],
    apply: (list) => list.slice(0, -1),
  },
  'put-front': {
    wordings: ['put X in front', 'let X lead'],
    apply: (list, put) => [put, ...list],
  },
  'put-end': {
    wordings: ['put X at the end', 'let X follow'],
    apply: (list, put) => [...list, put],
  },
} as const satisfies Readonly<Record<string, Operation>>;

/** A name of one of {@link OPERATIONS}. */
export type OperationName = keyof typeof OPERATIONS;

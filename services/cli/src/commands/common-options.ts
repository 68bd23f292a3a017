import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { resolve } from 'node:path';
import { quantizations } from '@parley/lm';
import type { Quantization } from '@parley/lm';
import { ParleyError, field } from '@parley/runtime';
import type { Cli } from '../cli.js';

/** What every command understands. */
export interface CommonOptions {
  json?: boolean;
  state: string;
}

const DEFAULT_STATE = '.parley';

/** Adds `--json`. @param what - what is printed, for the help */
export function addJson(command: Command, what: string): Command {
  return command.option('--json', `print ${what} as JSON on standard output`);
}

/** Adds `--state`. */
export function addState(command: Command): Command {
  return command.option('--state <folder>', 'where the state of meshes on this machine lies', DEFAULT_STATE);
}

/** `--peer`, any number of times. */
export function peerOption(description: string): Option {
  return new Option('--peer <peer>', description).argParser(collect);
}

/** An option that may be given many times. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

/** A whole number of at least `min`. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min) return value;
    throw new InvalidArgumentError(`give a whole number of at least ${min}`);
  };
}

/** `--seed`. */
export function seedOption(description: string, fallback: bigint): Option {
  // The help cannot print a bigint by itself.
  return new Option('--seed <number>', description).argParser(seedValue).default(fallback, String(fallback));
}

/** `--quantization`. @param scope - which models it concerns, for the help */
export function quantizationOption(scope: string): Option {
  const description = `how models hold their weights${scope}: as they are, in 8 bits, or in 8 bits with activations in 8 bits too`;
  return new Option('--quantization <kind>', description)
    .choices(quantizations)
    .default('none' satisfies Quantization);
}

/**
 * 8-bit weights are frozen: what trains beside them is a low-rank adapter.
 *
 * @throws ParleyError CONFIG_INVALID naming the options that contradict each other
 */
export function requireTrainable({
  quantization,
  train,
}: {
  quantization: Quantization;
  train: string;
}): void {
  if (quantization === 'none' || train !== 'full') return;
  throw new ParleyError(
    'CONFIG_INVALID',
    `--quantization ${quantization} and --train full contradict each other: weights in 8 bits are frozen; add ` +
      '--train lora:<rank>, such as lora:16',
  );
}

/** A whole number that fits 64 bits. */
function seedValue(text: string): bigint {
  if (/^\d{1,20}$/.test(text) && BigInt(text) < 1n << 64n) return BigInt(text);
  throw new InvalidArgumentError('give a whole number from 0 to 2^64 - 1');
}

/** A path from the folder the command runs in. */
export function fromCwd(cli: Cli, path: string): string {
  return resolve(cli.cwd, path);
}

/** The same for a file that may be `-`, standard input. */
export function inputFromCwd(cli: Cli, path: string): string {
  return path === '-' ? path : fromCwd(cli, path);
}

/** A time as in the environment of a service: `250ms`, `5s`, `2m`, `720h`; its value is in milliseconds. */
export function durationOption(flags: string, description: string, fallback: string): Option {
  return new Option(flags, description).argParser(duration).default(duration(fallback), fallback);
}

function duration(text: string): number {
  try {
    return field.durationMs('duration', { description: '' }).parse(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

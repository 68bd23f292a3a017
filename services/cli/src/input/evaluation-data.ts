import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { BENCHMARKS, countDistinct } from '@parley/evaluation';
import type { Benchmark, BenchmarkName, LabelledQuestion } from '@parley/evaluation';
import { ParleyError } from '@parley/runtime';
import { readQuestionFile } from './prompts-file.js';
import { inputName } from './text-lines.js';

/** Where the questions of an evaluation come from, as options say it. */
export interface DataOptions {
  /** A file of the user's own. */
  questions?: string;
  benchmark?: BenchmarkName;
  /** The user's copy of the benchmark. */
  data?: string;
  limit?: number;
}

/** The questions of an evaluation, and what a result must say of them. */
export interface EvaluationData {
  benchmark: Benchmark | undefined;
  /** Name of the file, without its folder. */
  file: string;
  /** Of the whole file. */
  sha256: string;
  /** In the file. */
  rows: number;
  /** Those that are asked: the first of the file. */
  questions: LabelledQuestion[];
  /** How many of these differ. */
  distinct: number;
}

/**
 * Reads the questions of an evaluation.
 *
 * @throws ParleyError CONFIG_INVALID for options that contradict each other; as {@link readQuestionFile}
 */
export async function readEvaluationData(options: DataOptions, stdin: Readable): Promise<EvaluationData> {
  const { path, benchmark } = source(options);
  const { questions: all, sha256 } = await readQuestionFile(path, stdin, benchmark);
  const questions = all.slice(0, options.limit);
  return {
    benchmark,
    file: path === '-' ? inputName(path) : basename(path),
    sha256,
    rows: all.length,
    questions,
    distinct: countDistinct(questions),
  };
}

function source({ questions, benchmark, data }: DataOptions): {
  path: string;
  benchmark: Benchmark | undefined;
} {
  if (questions !== undefined && benchmark === undefined && data === undefined)
    return { path: questions, benchmark };
  if (questions === undefined && benchmark !== undefined && data !== undefined)
    return { path: data, benchmark: BENCHMARKS[benchmark] };
  throw new ParleyError('CONFIG_INVALID', problem({ questions, benchmark, data }));
}

function problem({ questions, benchmark, data }: DataOptions): string {
  if (questions !== undefined)
    return '--questions and --benchmark contradict each other: give questions of your own, or a benchmark with --data';
  if (benchmark !== undefined)
    return `--benchmark ${benchmark} needs --data FILE, your copy of it; docs/evaluation.md says how to get one`;
  if (data !== undefined) return '--data needs --benchmark NAME, which says what its answers are';
  return 'No questions: give --questions FILE, or --benchmark NAME with --data FILE';
}

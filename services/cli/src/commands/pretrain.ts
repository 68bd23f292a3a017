import { Command, Option } from 'commander';
import { LISTENING, PRETRAINING, taskNamed, TASKS, WORD_PROBLEMS } from '@parley/evaluation';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { DEMO_FOLDER } from '../mesh/demo-peers.js';
import type { Progress } from '../output/terminal.js';
import { pretrainPopulation, type PretrainProgress } from '../pretrain/pretrain-population.js';
import { addJson, fromCwd, seedOption, wholeNumber } from './common-options.js';

interface PretrainCommandOptions {
  task: string;
  out: string;
  seed: bigint;
  steps: number;
  listeningSteps: number;
  json?: boolean;
}

/** The seed of the population in `deploy/demo`, fixed before its results were seen. */
const POPULATION_SEED = 20261123n;

const PHASES = { solving: 'Learning to solve', listening: 'Learning to listen' } as const;

/** `parley pretrain`. */
export function pretrainCommand(cli: Cli): Command {
  const command = new Command('pretrain')
    .summary("train the demo's three models from scratch")
    .description(
      'Trains three small models of different architecture on a synthetic task, each with weak spots of its own, ' +
        'then among one another until they can judge what they hear, and writes them as Hugging Face folders. The same ' +
        'seed gives the same weights on the same kind of machine.',
    )
    .addOption(
      new Option('--out <folder>', 'folder that gets one folder a model').default(DEMO_FOLDER, 'deploy/demo'),
    )
    .addOption(
      new Option('--task <task>', 'what the models learn')
        .choices(TASKS.map(({ name }) => name))
        .default(WORD_PROBLEMS.name),
    )
    .addOption(seedOption('seed of weak spots, weights and data', POPULATION_SEED))
    .option('--steps <number>', 'steps each model learns alone', wholeNumber(1), PRETRAINING.steps)
    .option('--listening-steps <number>', 'steps among one another', wholeNumber(1), LISTENING.steps);
  addJson(command, 'the folders and the time');
  return command.action(async (options: PretrainCommandOptions) => pretrain(cli, options));
}

async function pretrain(cli: Cli, options: PretrainCommandOptions): Promise<void> {
  if (options.task !== WORD_PROBLEMS.name && options.out === DEMO_FOLDER) {
    throw new ParleyError(
      'CONFIG_INVALID',
      `--task ${options.task} needs an --out: the demo's own folder is for ${WORD_PROBLEMS.name}`,
    );
  }
  const started = cli.now().getTime();
  const progress = phaseProgress(cli);
  try {
    const folders = await pretrainPopulation({
      task: taskNamed(options.task),
      folder: fromCwd(cli, options.out),
      seed: options.seed,
      solvingSteps: options.steps,
      listeningSteps: options.listeningSteps,
      signal: cli.signal,
      onProgress: progress.show,
    });
    progress.done();
    const wallSeconds = (cli.now().getTime() - started) / 1000;
    if (options.json) cli.out(JSON.stringify({ folders, seed: options.seed.toString(), wallSeconds }));
    else for (const folder of folders) cli.out(folder);
  } finally {
    progress.abandon();
  }
}

/** One progress bar a phase. */
function phaseProgress(cli: Cli) {
  let phase: PretrainProgress['phase'] | undefined;
  let bar: Progress | undefined;
  let shown = 0;
  return {
    show: (progress: PretrainProgress) => {
      if (phase !== progress.phase) {
        bar?.done();
        phase = progress.phase;
        shown = 0;
        bar = cli.terminal.progress({ label: PHASES[phase], total: progress.total, unit: 'steps' });
      }
      bar?.advance(progress.done - shown);
      shown = progress.done;
      const losses = Object.entries(progress.losses).map(([peer, loss]) => `${peer} ${loss.toFixed(3)}`);
      bar?.note(`loss ${losses.join(', ')}`);
    },
    done: () => bar?.done(),
    abandon: () => bar?.abandon(),
  };
}

import { Command, Option } from 'commander';
import { join } from 'node:path';
import type { Cli } from '../cli.js';
import { DEMO_SIZE, demoPlan } from '../demo/demo-plan.js';
import { renderDemoResult } from '../demo/demo-result.js';
import { runDemo } from '../demo/run-demo.js';
import { nearPath } from '../output/format.js';
import { loadRecipe } from '../input/recipe-option.js';
import { DEMO_FOLDER, demoPeers } from '../mesh/demo-peers.js';
import { taskOfPopulation } from '../pretrain/population-record.js';
import { addJson, addState, collect, fromCwd, seedOption, wholeNumber } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface DemoCommandOptions extends CommonOptions {
  models: string;
  recipe: string;
  set?: string[];
  seed: bigint;
  questions: number;
  heldOut: number;
  sampled: number;
}

/** The seed of every number the project quotes. */
const DEMO_SEED = 1n;

/** `parley demo`. */
export function demoCommand(cli: Cli): Command {
  const command = new Command('demo')
    .summary('see three models improve one another, in minutes')
    .description(
      'Brings up a mesh with three small models of different architecture, measures them on held-out questions, lets ' +
        'them train one another on questions without answers, and measures them again. `npm start` is the same.',
    )
    .addOption(
      new Option(
        '--models <folder>',
        'folder with the three models, as `parley pretrain --out` makes it',
      ).default(DEMO_FOLDER, "the demo's own"),
    )
    .addOption(
      new Option('--recipe <recipe>', 'paper, trust, trust-pmi, or a JSON file of a recipe').default(
        join(DEMO_FOLDER, 'recipe.json'),
        "the demo's own",
      ),
    )
    .option('--set <field=value>', 'change a field of the recipe (repeatable)', collect)
    .addOption(seedOption('seed of questions, run and samples', DEMO_SEED))
    .option('--questions <number>', 'unlabelled questions to train on', wholeNumber(1), DEMO_SIZE.questions)
    .option('--held-out <number>', 'held-out questions to measure on', wholeNumber(1), DEMO_SIZE.heldOut)
    .option(
      '--sampled <number>',
      'held-out questions that are also sampled, for the gap',
      wholeNumber(1),
      DEMO_SIZE.sampled,
    );
  addState(addJson(command, 'the result, as the last line,'));
  return command.action(async (options: DemoCommandOptions) => demo(cli, options));
}

async function demo(cli: Cli, options: DemoCommandOptions): Promise<void> {
  const { seed, heldOut, sampled, questions, json, state } = options;
  const models = fromCwd(cli, options.models);
  const peers = demoPeers(models);
  const recipe = await loadRecipe({
    recipe: options.recipe,
    set: options.set,
    peers: peers.length,
    cwd: cli.cwd,
  });
  const plan = demoPlan(taskOfPopulation(models), { heldOut, sampled, questions }, seed);
  const finished = await runDemo(cli, { peers, recipe, plan, seed, state: fromCwd(cli, state) });
  const { result, before, after, recordPath } = finished;
  if (json) {
    cli.terminal.line(`The record of the run is ${recordPath}`);
    cli.out(JSON.stringify(result));
    return;
  }
  cli.out(`\n${renderDemoResult(result, { before, after, seed })}`);
  cli.out(`The record              ${nearPath(recordPath, cli.cwd)}`);
}

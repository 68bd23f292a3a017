import { Command } from 'commander';
import type { Cli } from './cli.js';
import { askCommand } from './commands/ask.js';
import { demoCommand } from './commands/demo.js';
import { doctorCommand } from './commands/doctor.js';
import { evalCommand } from './commands/eval.js';
import { exportCommand } from './commands/export.js';
import { natsReloadCommand } from './commands/nats-reload.js';
import { peersCommand } from './commands/peers.js';
import { pretrainCommand } from './commands/pretrain.js';
import { pullCommand } from './commands/pull.js';
import { rollbackCommand } from './commands/rollback.js';
import { runCommand } from './commands/run.js';
import { runsCommand } from './commands/runs.js';
import { studyCommand } from './commands/study.js';
import { topologyCommand } from './commands/topology.js';
import { upCommand } from './commands/up.js';
import { watchCommand } from './commands/watch.js';

/** As wide as a terminal is at least. */
const HELP_COLUMNS = 80;

const AFTER = `
Examples:
  parley demo                                      see it work, in minutes
  parley up                                        keep a mesh of the demo's models up
  parley run --questions my.jsonl                  train its peers on your questions
  parley run --questions - < my.txt \\
    --peer a=./llama --peer b=./qwen               the same with models of your own
  parley run --questions my.jsonl --recipe trust \\
    --set training.learningRate=1e-4               another recipe
  parley ask "What is 3 plus 4?"                   ask its peers, and take their vote
  parley eval --questions test.jsonl --peer a=./llama
                                                   measure a model
  parley export --model ./llama --out ./llama-adapter \
    --from .parley/peers/a                         what it learnt, for PEFT
  parley pull Qwen/Qwen2.5-0.5B-Instruct           fetch one from the hub

Results go to standard output, with --json for programs; everything else goes to standard error.

Exit codes:
  0    done
  1    it failed: the run failed or was stopped, or something broke
  2    the command line, a file, or a recipe is wrong
  3    something needed is missing or does not answer
  4    it took longer than its deadline
  130  interrupted (143: terminated); for \`up\`, which has no other end, that is 0`;

/** The `parley` command line. Errors are thrown: commander's own as CommanderError. */
export function createProgram(cli: Cli, version: string): Command {
  const program = new Command('parley')
    .description('A mesh of language models that train one another without labels.')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print help; also after a command')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', AFTER)
    .showHelpAfterError('Run it with --help to see what it takes.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => cli.out(text.trimEnd()),
      getOutHelpWidth: () => HELP_COLUMNS,
      getErrHelpWidth: () => HELP_COLUMNS,
      writeErr: (text) => cli.terminal.line(text.trimEnd()),
    });
  const commands = [
    demoCommand(cli),
    upCommand(cli),
    runCommand(cli),
    watchCommand(cli),
    runsCommand(cli),
    peersCommand(cli),
    askCommand(cli),
    evalCommand(cli),
    rollbackCommand(cli),
    pullCommand(cli),
    pretrainCommand(cli),
    exportCommand(cli),
    studyCommand(cli),
    doctorCommand(cli),
    topologyCommand(cli),
    natsReloadCommand(cli),
  ];
  for (const command of commands) {
    for (const inner of command.commands) inner.copyInheritedSettings(program);
    program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}

import { Command } from 'commander';
import type { Cli } from '../cli.js';
import { readStudySpec } from '../study/study-spec.js';
import { runStudy } from '../study/run-study.js';
import { fromCwd } from './common-options.js';

/** `parley study`. */
export function studyCommand(cli: Cli): Command {
  return new Command('study')
    .summary('compare recipes over populations of peers')
    .description(
      'Runs every row of a study (a recipe, or a control) on every one of its populations and seeds, each from untrained ' +
        'peers in a mesh of its own, and measures all of them on the same held-out questions. Results are added to ' +
        'one JSON lines file; a study that was interrupted goes on where it was.',
    )
    .argument('<spec>', 'the study as JSON (docs/evidence/README.md)')
    .requiredOption('--out <folder>', 'folder of populations and results')
    .action(async (spec: string, options: { out: string }) => {
      const study = await readStudySpec(spec, cli.cwd);
      const results = await runStudy(cli, study.spec, fromCwd(cli, options.out));
      cli.out(results.path);
    });
}

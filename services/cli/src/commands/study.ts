import { Command } from 'commander';
import { join } from 'node:path';
import type { Cli } from '../cli.js';
import { loadChartLibrary } from '../study/charts/chart-library.js';
import { writeReport } from '../study/report/write-report.js';
import { runStudy } from '../study/run-study.js';
import { readStudySpec } from '../study/study-spec.js';
import { fromCwd } from './common-options.js';

/** Where the report of a study goes, in its folder. */
const REPORT_FOLDER = 'report';

/** `parley study`, which runs one, and `parley study report`. */
export function studyCommand(cli: Cli): Command {
  return new Command('study')
    .summary('compare recipes over populations of peers')
    .description(
      'Runs a study: `parley study SPEC --out FOLDER`. Reports on what is there: `parley study report`.',
    )
    .addCommand(runCommand(cli), { isDefault: true })
    .addCommand(reportCommand(cli));
}

function runCommand(cli: Cli): Command {
  return new Command('run')
    .summary('run a study, or go on with it; also without "run"')
    .description(
      'Runs every row of a study (a recipe, or a control) on every one of its populations and seeds, each from untrained ' +
        'peers in a mesh of its own, and measures all of them on the same held-out questions. Results are added to ' +
        'one JSON lines file; a study that was interrupted goes on where it was. At its end it is reported on.',
    )
    .argument('<spec>', 'the study as JSON (docs/evidence/README.md)')
    .requiredOption('--out <folder>', 'folder of populations, results and the report')
    .option('--only <rows>', 'names of rows to run now, separated by commas', (text) => text.split(','))
    .option('--no-report', 'write no report at the end')
    .action(async (spec: string, options: { out: string; only?: string[]; report: boolean }) => {
      const study = await readStudySpec(spec, cli.cwd);
      // What the report lacks is told before the hours, not after.
      if (options.report) await loadChartLibrary();
      const folder = fromCwd(cli, options.out);
      const { path } = await runStudy(cli, study.spec, folder, options.only);
      if (options.report) {
        const report = await writeReport(path, join(folder, REPORT_FOLDER), { charts: true });
        cli.terminal.line(`The report is ${report}`);
      }
      cli.out(path);
    });
}

function reportCommand(cli: Cli): Command {
  return new Command('report')
    .summary('tables and charts of a study, from its results alone')
    .description(
      'Writes results.md and its charts (SVG and PNG) from the results of a study, finished or not. The same results give ' +
        'the same files.',
    )
    .argument('<cells>', 'results of a study: cells.jsonl in its folder')
    .requiredOption('--to <folder>', 'folder of the report')
    .option('--no-charts', 'tables only; charts need packages that an image leaves out')
    .action(async (cells: string, options: { to: string; charts: boolean }) => {
      cli.out(await writeReport(fromCwd(cli, cells), fromCwd(cli, options.to), { charts: options.charts }));
    });
}

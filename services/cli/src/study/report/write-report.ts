import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { changesChart } from '../charts/changes-chart.js';
import { loadChartLibrary } from '../charts/chart-library.js';
import type { Chart } from '../charts/chart-library.js';
import { gapChart } from '../charts/gap-chart.js';
import { learningRateChart } from '../charts/learning-rate-chart.js';
import { peersChart } from '../charts/peers-chart.js';
import { voteChart } from '../charts/vote-chart.js';
import { readCells } from './read-cells.js';
import { renderResults } from './render-results.js';
import type { ChartNames } from './render-results.js';
import { studyFigures } from './study-figures.js';
import type { TaskFigures } from './study-figures.js';

/** The report's text, in its folder. */
export const REPORT_FILE = 'results.md';

/**
 * Writes the report of a study into a folder: `results.md`, and its charts as SVG and PNG. The same cells give the same
 * bytes.
 *
 * @param cells - the file of results
 * @returns the path of the text
 * @throws ParleyError STUDY_INVALID, or CONFIG_INVALID where charts are wanted and cannot be drawn
 */
export async function writeReport(
  cells: string,
  folder: string,
  { charts }: { charts: boolean },
): Promise<string> {
  const tasks = studyFigures(await readCells(cells));
  await mkdir(folder, { recursive: true });
  const names = charts ? await drawCharts(tasks, folder) : tasks.map(withoutCharts);
  const path = join(folder, REPORT_FILE);
  await writeFile(path, renderResults(tasks, names));
  return path;
}

async function drawCharts(tasks: readonly TaskFigures[], folder: string): Promise<ChartNames[]> {
  const library = await loadChartLibrary();
  const draw = async (name: string, chart: Chart | undefined) => {
    if (chart === undefined) return null;
    const svg = library.draw(chart);
    await writeFile(join(folder, `${name}.svg`), svg);
    await writeFile(join(folder, `${name}.png`), library.rasterize(svg));
    return name;
  };
  const all: ChartNames[] = [];
  for (const task of tasks) {
    all.push({
      changes: await draw(`${task.task}-changes`, changesChart(library, task)),
      peers: await draw(`${task.task}-peers`, peersChart(library, task)),
      vote: await draw(`${task.task}-vote`, voteChart(library, task)),
      gap: await draw(`${task.task}-gap`, gapChart(library, task)),
      weightings: await Promise.all(
        task.weightings.map((weighting, i) =>
          draw(
            `${task.task}-learning-rate${i === 0 ? '' : `-${i + 1}`}`,
            learningRateChart(library, task, weighting),
          ),
        ),
      ),
    });
  }
  return all;
}

function withoutCharts({ weightings }: TaskFigures): ChartNames {
  return { changes: null, peers: null, vote: null, gap: null, weightings: weightings.map(() => null) };
}

import { fileURLToPath } from 'node:url';
import { ParleyError } from '@parley/runtime';
import type * as Plot from '@observablehq/plot';

/** What draws charts. Nothing in it depends on the machine: not even the fonts, which come along. */
export interface ChartLibrary {
  readonly plot: typeof Plot;
  /** An SVG as text, white behind. */
  draw(chart: Chart): string;
  /** The same as a PNG, at twice the size. */
  rasterize(svg: string): Uint8Array;
}

/** A chart, whatever it shows. Lengths in CSS pixels. */
export interface Chart {
  title: string;
  /** How it is read. */
  subtitle: string;
  plotHeight: number;
  plot: Plot.PlotOptions;
}

/** Of every chart. */
export const CHART_WIDTH = 900;

const TITLE_HEIGHT = 70;
const MARGIN = 20;
const FONT = 'Inter';
const FONT_FILES = ['400Regular/Inter_400Regular.ttf', '600SemiBold/Inter_600SemiBold.ttf'];
const SCALE = 2;

/**
 * Loads the packages that draw; they are no part of an image.
 *
 * @throws ParleyError CONFIG_INVALID where they are not installed
 */
export async function loadChartLibrary(): Promise<ChartLibrary> {
  const { plot, document, Resvg } = await load();
  const fontFiles = FONT_FILES.map((file) =>
    fileURLToPath(import.meta.resolve(`@expo-google-fonts/inter/${file}`)),
  );
  return {
    plot,
    draw({ title, subtitle, plotHeight, plot: options }) {
      const height = TITLE_HEIGHT + plotHeight;
      const drawn = plot.plot({
        width: CHART_WIDTH,
        height: plotHeight,
        ...options,
        style: { fontSize: '13px', overflow: 'visible' },
        document,
      }) as unknown as { innerHTML: string };
      return [
        `<svg xmlns="http://www.w3.org/2000/svg" width="${CHART_WIDTH}" height="${height}" viewBox="0 0 ${CHART_WIDTH} ${height}"` +
          ` font-family="${FONT}, system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif" font-size="13" fill="#1f2328">`,
        `<title>${escape(title)}</title>`,
        `<rect width="${CHART_WIDTH}" height="${height}" fill="#ffffff"/>`,
        `<text x="${MARGIN}" y="32" font-size="18" font-weight="600">${escape(title)}</text>`,
        `<text x="${MARGIN}" y="54" fill="#59636e">${escape(subtitle)}</text>`,
        `<g transform="translate(0,${TITLE_HEIGHT})" text-anchor="middle">`,
        drawn.innerHTML.replace(/<style>[\s\S]*?<\/style>/, '').replaceAll('currentColor', '#1f2328'),
        '</g>',
        '</svg>',
        '',
      ].join('\n');
    },
    rasterize(svg) {
      const font = { loadSystemFonts: false, fontFiles, defaultFontFamily: FONT, sansSerifFamily: FONT };
      return new Resvg(svg, { font, fitTo: { mode: 'zoom', value: SCALE } }).render().asPng();
    },
  };
}

async function load() {
  try {
    const [plot, { parseHTML }, { Resvg }] = await Promise.all([
      import('@observablehq/plot'),
      import('linkedom'),
      import('@resvg/resvg-js'),
    ]);
    const { document } = parseHTML('<html></html>') as unknown as { document: object };
    return { plot, document, Resvg };
  } catch (cause) {
    throw new ParleyError(
      'CONFIG_INVALID',
      'Charts are drawn by packages that are not installed here: run it in a checkout after `npm ci`, or give --no-charts (to `parley study report`; --no-report to `parley study`)',
      { cause },
    );
  }
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

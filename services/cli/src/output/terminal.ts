import { duration } from './format.js';

/** The part of a stream that is written to. */
export interface TextSink {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** Something that takes a while and can be counted. */
export interface ProgressOptions {
  label: string;
  /** How many steps there are; undefined if nobody knows. */
  total: number | undefined;
  /** What a step is, plural: `answers`. */
  unit: string;
}

/** Progress of one thing. */
export interface Progress {
  advance(steps?: number): void;
  /** Says something beside the numbers, such as what is being done. */
  note(text: string): void;
  /** Ends it with a line that says how long it took. Idempotent. */
  done(): void;
  /** Ends it without a line, as when it failed and the error says more. Idempotent. */
  abandon(): void;
}

/** Where people read what happens; standard error, so that standard output holds nothing but results. */
export interface Terminal {
  /** A line that stays. */
  line(text: string): void;
  /**
   * Shows progress with rate and time left: a bar that is redrawn in place on a terminal, a line every few seconds
   * elsewhere. Nothing is shown of what is done within two seconds, except on a terminal while it lasts.
   * One at a time: the next replaces the last.
   */
  progress(options: ProgressOptions): Progress;
}

/** What a {@link Terminal} needs besides its stream. */
export interface TerminalOptions {
  sink: TextSink;
  /** Say nothing at all. */
  quiet?: boolean;
  /** Milliseconds since any fixed instant. */
  now?: () => number;
}

const REDRAW_MS = 100;
const LINE_MS = 5000;
const WORTH_A_LINE_MS = 2000;
/** Some terminals say that they have no columns at all. */
const DEFAULT_COLUMNS = 80;
/** Sooner than this a guess of the time left says nothing. */
const GUESS_MS = 1000;
const ERASE_LINE = '\r\u001b[2K';

/** A terminal over a stream. */
export function createTerminal({
  sink,
  quiet = false,
  now = () => performance.now(),
}: TerminalOptions): Terminal {
  const live = sink.isTTY === true;
  let shown = '';

  const draw = (text: string) => {
    if (quiet || !live) return;
    const fitted = text === '' ? '' : fit(text, sink.columns || DEFAULT_COLUMNS);
    if (shown !== '' || fitted !== '') sink.write(`${shown === '' ? '' : ERASE_LINE}${fitted}`);
    shown = fitted;
  };
  const line = (text: string) => {
    if (quiet) return;
    const bar = shown;
    draw('');
    sink.write(`${text}\n`);
    draw(bar);
  };

  return {
    line,
    progress({ label, total, unit }) {
      const meter = createMeter({ label, total, unit, now });
      let lastShown = now();
      let ended = false;
      const show = () => {
        if (ended) return;
        const interval = live ? REDRAW_MS : LINE_MS;
        if (now() - lastShown < interval) return;
        lastShown = now();
        if (live) draw(meter.bar());
        else line(meter.line());
      };
      const timer = quiet ? undefined : setInterval(show, live ? 250 : 1000);
      timer?.unref();
      const end = () => {
        if (ended) return false;
        ended = true;
        clearInterval(timer);
        draw('');
        return true;
      };
      return {
        advance(steps = 1) {
          meter.advance(steps);
          show();
        },
        note(text) {
          meter.note(text);
          show();
        },
        done() {
          if (end() && meter.elapsedMs() >= WORTH_A_LINE_MS) line(meter.summary());
        },
        abandon() {
          end();
        },
      };
    },
  };
}

interface MeterOptions extends ProgressOptions {
  now: () => number;
}

/** The numbers behind a progress line. */
function createMeter({ label, total, unit, now }: MeterOptions) {
  const started = now();
  let steps = 0;
  let remark = '';
  const elapsedMs = () => now() - started;
  const rate = () => steps / Math.max(elapsedMs() / 1000, 1e-9);
  const rateText = () => `${rate() >= 10 ? Math.round(rate()) : rate().toFixed(1)} ${unit}/s`;
  const left = () => {
    if (total === undefined || steps === 0 || elapsedMs() < GUESS_MS) return '';
    return `, ${duration((total - steps) / rate())} left`;
  };
  const numbers = () => {
    const counted = total === undefined ? `${steps} ${unit}` : `${steps}/${total} ${unit}`;
    const pace = steps === 0 ? duration(elapsedMs() / 1000) : `${rateText()}${left()}`;
    return `${counted}, ${pace}${remark === '' ? '' : `, ${remark}`}`;
  };
  return {
    elapsedMs,
    advance: (by: number) => void (steps += by),
    note: (text: string) => void (remark = text),
    bar: () =>
      `${label} ${drawBar(total === undefined ? undefined : steps / Math.max(total, 1))}${numbers()}`,
    line: () => `${label}: ${numbers()}`,
    summary: () => `${label}: ${steps} ${unit} in ${duration(elapsedMs() / 1000)} (${rateText()})`,
  };
}

function drawBar(share: number | undefined, cells = 20): string {
  if (share === undefined) return '';
  const full = Math.min(cells, Math.round(share * cells));
  return `${'█'.repeat(full)}${'░'.repeat(cells - full)} `;
}

function fit(text: string, columns: number): string {
  const characters = [...text];
  return characters.length < columns ? text : `${characters.slice(0, columns - 2).join('')}…`;
}

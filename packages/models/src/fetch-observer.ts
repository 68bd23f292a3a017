import type { Log } from '@parley/runtime';

/** Who is told how fetching a model proceeds. */
export interface FetchObserver {
  /** Before the first byte. @param presentBytes - what is there already, in whole files or parts of them */
  begin(plan: { label: string; files: number; totalBytes: number | undefined; presentBytes: number }): void;
  /** A piece that arrived; negative for what was thrown away again. */
  bytes(count: number): void;
  /** Something a person would want to know: waiting, an interruption. */
  notice(text: string): void;
  /** After the last byte, or a failure. */
  end(isComplete: boolean): void;
}

const LOG_MS = 5000;
const REPORT_MS = 500;

/** Progress as lines of a log, and in short words for `report`, where who looks at a service sees it. */
export function logObserver(log: Log, report: (text: string) => void = () => undefined): FetchObserver {
  let timers: NodeJS.Timeout[] = [];
  let done = 0;
  let show = () => undefined as void;
  return {
    begin({ label, files, totalBytes, presentBytes }) {
      done = presentBytes;
      const startedMs = performance.now();
      const tell = () => report(`fetching ${label}, ${amount(done, totalBytes)}`);
      const write = () => {
        const rate = (done - presentBytes) / (performance.now() - startedMs) / 1000;
        const megabytesPerSecond = Number(rate.toFixed(1));
        log.info(
          { model: label, fetched: amount(done, totalBytes), megabytesPerSecond },
          'fetching the model',
        );
      };
      show = () => {
        tell();
        write();
      };
      log.info({ model: label, files, presentBytes, totalBytes }, 'fetching the model');
      tell();
      timers = [setInterval(tell, REPORT_MS), setInterval(write, LOG_MS)];
    },
    bytes: (count) => void (done += count),
    notice: (text) => log.warn(text),
    end() {
      for (const timer of timers) clearInterval(timer);
      show();
    },
  };
}

/** `42 % of 2.51 GB`, or how much there is where nobody knows of how much. */
function amount(bytes: number, totalBytes: number | undefined): string {
  if (totalBytes === undefined) return size(bytes);
  return `${Math.floor((100 * bytes) / Math.max(totalBytes, 1))} % of ${size(totalBytes)}`;
}

/** `2.51 GB`, `340 MB`: bytes for people. */
export function size(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e6 ? `${megabytes(bytes)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6);
}

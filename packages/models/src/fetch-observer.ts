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

const SHOW_MS = 5000;

/** Progress as lines of a log, and in short words for `report`, where who looks at a service sees it. */
export function logObserver(log: Log, report: (text: string) => void = () => undefined): FetchObserver {
  let timer: NodeJS.Timeout | undefined;
  let done = 0;
  let show = () => undefined as void;
  return {
    begin({ label, files, totalBytes, presentBytes }) {
      done = presentBytes;
      const startedMs = performance.now();
      show = () => {
        const megabytesPerSecond = Number(
          ((done - presentBytes) / (performance.now() - startedMs) / 1000).toFixed(1),
        );
        const share =
          totalBytes === undefined ? undefined : Number((done / Math.max(totalBytes, 1)).toFixed(3));
        log.info(
          { model: label, megabytes: megabytes(done), share, megabytesPerSecond },
          'fetching the model',
        );
        report(
          `fetching ${label}, ${share === undefined ? '' : `${Math.floor(share * 100)} % of `}${size(totalBytes ?? done)}`,
        );
      };
      log.info(
        { model: label, files, totalMegabytes: totalBytes && megabytes(totalBytes) },
        'fetching the model',
      );
      report(`fetching ${label}`);
      timer = setInterval(show, SHOW_MS);
    },
    bytes: (count) => void (done += count),
    notice: (text) => log.warn(text),
    end() {
      clearInterval(timer);
      show();
    },
  };
}

/** `2.51 GB`, `340 MB`: bytes for people. */
export function size(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e6 ? `${megabytes(bytes)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6);
}

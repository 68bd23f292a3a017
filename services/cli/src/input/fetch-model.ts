import { MODEL_FIELDS, obtainModel, size } from '@parley/models';
import type { FetchObserver, ModelSettings, ModelUri, ObtainedModel } from '@parley/models';
import { readConfig } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { plural } from '../output/format.js';
import type { Progress, Terminal } from '../output/terminal.js';

const MEGABYTE = 1e6;

/** What of the command line fetching needs. */
export type FetchCli = Pick<Cli, 'env' | 'terminal' | 'signal'>;

/**
 * Brings a model to this machine, with settings from the environment, and shows how it proceeds.
 *
 * @param overrides - settings that options give
 * @throws ParleyError CONFIG_INVALID for the environment; as `obtainModel`
 */
export async function fetchModel(
  cli: FetchCli,
  uri: ModelUri,
  { refresh = false, ...overrides }: Partial<ModelSettings> & { refresh?: boolean },
): Promise<ObtainedModel> {
  const settings = { ...readConfig(cli.env, MODEL_FIELDS), ...overrides };
  return obtainModel(uri, settings, {
    observer: terminalObserver(cli.terminal),
    signal: cli.signal,
    refresh,
  });
}

function terminalObserver(terminal: Terminal): FetchObserver {
  let progress: Progress | undefined;
  let [received, shown] = [0, 0];
  return {
    begin({ label, files, totalBytes, presentBytes }) {
      const there = presentBytes > 0 ? `, of which ${size(presentBytes)} are here already` : '';
      const whole = totalBytes === undefined ? '' : `: ${size(totalBytes)}${there}`;
      terminal.line(`Fetching ${plural(files, 'file')} of ${label}${whole}`);
      const total = totalBytes === undefined ? undefined : Math.ceil((totalBytes - presentBytes) / MEGABYTE);
      progress = terminal.progress({ label: 'Fetching', total, unit: 'MB' });
    },
    bytes(count) {
      received += count;
      const whole = Math.floor(received / MEGABYTE);
      progress?.advance(whole - shown);
      shown = whole;
    },
    notice: (text) => terminal.line(text),
    end: (isComplete) => (isComplete ? progress?.done() : progress?.abandon()),
  };
}

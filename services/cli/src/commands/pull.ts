import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { MODEL_FIELDS, checkpointDigest, formatModelUri, parseModelUri, parseRepo } from '@parley/models';
import type { ModelUri } from '@parley/models';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { fetchModel } from '../input/fetch-model.js';
import { addJson, durationOption, fromCwd, wholeNumber } from './common-options.js';

interface PullOptions {
  json?: boolean;
  tokenFile?: string;
  cache?: string;
  sha256?: string;
  maxBytes?: number;
  deadline: number;
}

/** `parley pull`. */
export function pullCommand(cli: Cli): Command {
  const command = new Command('pull')
    .summary('fetch a model from a hub, a bucket or a web server')
    .description(
      "Fetches what a peer needs of a model: into the cache that Hugging Face's own programs use (HF_HOME, HF_HUB_CACHE), " +
        "or into Parley's (PARLEY_CACHE) from s3:// and https://. Goes on where it was interrupted, checks every digest, and " +
        'prints the folder, which is what --peer NAME=FOLDER takes. The token for a private or gated model is that of ' +
        '--token-file, HF_TOKEN, or the file that `hf auth login` writes.',
    )
    .argument(
      '<model>',
      'org/model[@revision] of the hub (HF_ENDPOINT), or hf://, s3://bucket/prefix, https://host/folder/',
    )
    .option('--token-file <file>', 'file with a token for the hub or the server')
    .option('--cache <folder>', 'cache of models from the hub, in place of HF_HUB_CACHE')
    .addOption(
      new Option('--sha256 <digest>', 'digest that the model must have, as this command prints it').argParser(
        digest,
      ),
    )
    .option('--max-bytes <bytes>', 'most bytes of all files together', wholeNumber(1))
    .addOption(durationOption('--deadline <duration>', 'longest time for all of it', '2h'));
  addJson(command, 'folder, commit and digest');
  return command.action(async (model: string, options: PullOptions) => pull(cli, model, options));
}

async function pull(cli: Cli, model: string, options: PullOptions): Promise<void> {
  const { tokenFile, cache, sha256, maxBytes, deadline, json } = options;
  const uri = readModel(model);
  const { folder, commit } = await fetchModel(cli, uri, {
    refresh: true,
    modelDeadlineMs: deadline,
    ...(tokenFile !== undefined && { modelToken: await readToken(fromCwd(cli, tokenFile)) }),
    ...(cache !== undefined && { hfHubCache: fromCwd(cli, cache) }),
    ...(sha256 !== undefined && { modelSha256: sha256 }),
    ...(maxBytes !== undefined && { modelMaxBytes: maxBytes }),
  });
  const found = await checkpointDigest(folder);
  cli.terminal.line(
    `${formatModelUri(uri)}${commit === undefined ? '' : `, commit ${commit}`}, SHA-256 ${found}`,
  );
  cli.out(json ? JSON.stringify({ model: formatModelUri(uri), commit, folder, sha256: found }) : folder);
}

/** A name without a scheme is one of the hub. */
function readModel(text: string): ModelUri {
  let uri: ModelUri;
  try {
    uri = text.includes('://') ? parseModelUri(text) : parseRepo(text);
  } catch (error) {
    throw new ParleyError('CONFIG_INVALID', `parley pull ${text}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (uri.kind !== 'folder') return uri;
  throw new ParleyError(
    'CONFIG_INVALID',
    `parley pull ${text}: that lies on this machine already; use it as --peer NAME=FOLDER`,
  );
}

async function readToken(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new ParleyError('CONFIG_INVALID', `--token-file ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  });
}

function digest(text: string): string | undefined {
  try {
    return MODEL_FIELDS.modelSha256.parse(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

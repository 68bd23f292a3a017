import { readFile } from 'node:fs/promises';
import { ParleyError, systemCode } from '@parley/runtime';

/** An access token of a hub, and where it came from, for messages. Never printed. */
export interface HubToken {
  readonly value: string;
  readonly source: string;
}

/** Where a token may be, the first that is given counts. */
export interface HubTokenSources {
  /** A token that was given for this model. */
  given: { value: string; source: string } | undefined;
  /** HF_TOKEN. */
  environment: string | undefined;
  /** The file that HF_TOKEN_PATH names, or the one that `hf auth login` writes; that may be missing. */
  file: { path: string; isNamed: boolean };
}

/** @throws ParleyError CONFIG_INVALID for a named file that cannot be read, and for a token that cannot be sent */
export async function readHubToken({
  given,
  environment,
  file,
}: HubTokenSources): Promise<HubToken | undefined> {
  if (given) return checked(given);
  if (environment) return checked({ value: environment, source: 'HF_TOKEN' });
  const value = await readFile(file.path, 'utf8').catch((error: unknown) => {
    if (!file.isNamed && systemCode(error) === 'ENOENT') return '';
    throw new ParleyError(
      'CONFIG_INVALID',
      `Cannot read the token in ${file.path}: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  });
  return value.trim() === '' ? undefined : checked({ value, source: file.path });
}

function checked({ value, source }: HubToken): HubToken {
  const text = value.trim();
  if (/^[\x21-\x7e]+$/.test(text)) return { value: text, source };
  throw new ParleyError(
    'CONFIG_INVALID',
    `The token from ${source} is empty or holds what no token has (spaces, line ends)`,
  );
}

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { LmError } from './lm-error.js';

/** Files of a model folder that decide what the model says. */
export const decisiveFile =
  /^(config|generation_config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json$|\.safetensors$|^chat_template\.jinja$/;

/**
 * SHA-256 that identifies a checkpoint: of the lines `<sha256>  <name>`, sorted by name, of the files that decide what the
 * model says. The same as `sha256sum` of those files in C locale, summed again.
 * @throws LmError `FILE_UNREADABLE` if the folder cannot be read
 */
export async function modelFolderDigest(folder: string): Promise<string> {
  try {
    const names = await readdir(folder);
    const total = createHash('sha256');
    for (const name of names.filter((name) => decisiveFile.test(name)).sort()) {
      const file = createHash('sha256');
      for await (const chunk of createReadStream(join(folder, name))) file.update(chunk as Buffer);
      total.update(`${file.digest('hex')}  ${name}\n`);
    }
    return total.digest('hex');
  } catch (cause) {
    throw new LmError(
      'FILE_UNREADABLE',
      `The model folder ${folder} cannot be read: ${(cause as Error).message}.`,
      {
        details: { folder },
        cause,
      },
    );
  }
}

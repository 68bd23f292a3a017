import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ParleyError, sha256File } from '@parley/runtime';
import { selectModelFiles } from './model-files.js';

/** Files of a model folder that decide what the model says. */
const DECISIVE =
  /^(config|generation_config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json$|\.safetensors$|^chat_template\.jinja$/;

/**
 * SHA-256 that identifies a checkpoint: of the lines `<sha256>  <name>`, sorted by name, of the files that decide what the
 * model says. The same as `sha256sum` of those files in C locale, summed again. What else lies beside them, such as weights of
 * another format in a folder that programs share, does not count.
 *
 * @throws ParleyError CHECKPOINT_INVALID if the folder cannot be read
 */
export async function checkpointDigest(folder: string): Promise<string> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new ParleyError(
      'CHECKPOINT_INVALID',
      `The model folder ${folder} cannot be read: ${(error as Error).message}. Set PARLEY_MODEL to a Hugging Face model folder`,
      { details: { folder }, cause: error },
    );
  });
  const total = createHash('sha256');
  for (const name of selectModelFiles(names).filter((file) => DECISIVE.test(file))) {
    total.update(`${await sha256File(join(folder, name))}  ${name}\n`);
  }
  return total.digest('hex');
}

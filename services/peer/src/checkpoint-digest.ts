import { modelFolderDigest } from '@parley/lm';
import { ParleyError } from '@parley/runtime';

/**
 * SHA-256 that identifies a checkpoint, as {@link modelFolderDigest}.
 *
 * @throws ParleyError CHECKPOINT_INVALID if the folder cannot be read
 */
export async function checkpointDigest(folder: string): Promise<string> {
  return modelFolderDigest(folder).catch((error: unknown) => {
    throw new ParleyError(
      'CHECKPOINT_INVALID',
      `${(error as Error).message} Set PARLEY_MODEL to a Hugging Face model folder`,
      { details: { folder }, cause: error },
    );
  });
}

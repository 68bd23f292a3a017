/** How content is told apart: a digest, lower-case hexadecimal. `git-blob` is SHA-1 as git takes it of a file. */
export interface Digest {
  readonly algorithm: 'sha256' | 'git-blob' | 'md5';
  readonly hex: string;
}

/** A file that lies somewhere else. */
export interface RemoteFile {
  /** Its name in the model folder. */
  readonly name: string;
  /** For messages. */
  readonly url: string;
  /** Bytes; undefined if the server does not say so before. */
  readonly size: number | undefined;
  readonly digest: Digest | undefined;
  /** The strong entity tag (RFC 9110) that it has now, if the server gave one before. */
  readonly etag: string | undefined;
  /**
   * Asks for the content from byte `from` on. The answer has status 200 (all of it), 206 (from there on) or 416.
   *
   * @param validator - entity tag that the content must still have to be gone on with
   * @throws Interruption for what may pass, ParleyError for what will not
   */
  open(request: { from: number; validator: string | undefined; signal: AbortSignal }): Promise<Response>;
}

/** The files of a model that lies somewhere else. */
export interface RemoteModel {
  /** For messages. */
  readonly label: string;
  /** Where the files are those of a commit: its hash. */
  readonly commit?: string;
  /** What a peer needs, small files first. */
  readonly files: readonly RemoteFile[];
}

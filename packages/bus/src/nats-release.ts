import { gunzipSync } from 'node:zlib';
import { ParleyError } from '@parley/runtime';

/** An official release of nats-server: what is downloaded, and the only content that is accepted for it. */
export interface NatsRelease {
  version: string;
  /** Folder of the archives, without a trailing slash. */
  baseUrl: string;
  /** SHA-256 of `nats-server-v<version>-<platform>.tar.gz` by platform. */
  sha256: Readonly<Record<string, string>>;
}

/**
 * The pinned release. The Linux digests are those in the Dockerfile of the official image (nats 2.11.8, alpine); the
 * macOS ones come from a published copy of the release's SHA256SUMS, not from the file itself. A wrong digest can only
 * refuse a download, never accept one.
 */
export const NATS_RELEASE: NatsRelease = {
  version: '2.11.8',
  baseUrl: 'https://github.com/nats-io/nats-server/releases/download/v2.11.8',
  sha256: {
    'linux-amd64': '397a6deffb5533e160de0cca322bc3dcaec7fb7282d66a3dfa87a9c183152ad1',
    'linux-arm64': 'b08936cb1dc0ae7086137bda14c352df64397c4af45ed2b392705c19585aeb84',
    'darwin-amd64': '002c943c1ed39c55cc5e024debfc02685111fcb2b1cbd887aad39ac977037477',
    'darwin-arm64': '23e0c5354c2da385708946a21900c944fcb9a3bbfd02aae27a4ae750dea0b682',
  },
};

/** Node's names of a platform as the releases spell them: `linux`, `x64` → `linux-amd64`. */
export function releasePlatform(platform: string, arch: string): string {
  return `${platform}-${arch === 'x64' ? 'amd64' : arch}`;
}

/** The address of the archive for a platform. */
export function releaseUrl({ baseUrl, version }: NatsRelease, platform: string): string {
  return `${baseUrl}/nats-server-v${version}-${platform}.tar.gz`;
}

const BLOCK = 512;

/**
 * One file of a gzipped tar archive (POSIX ustar: blocks of 512 bytes; name at 0, size in octal at 124, type at 156),
 * found by the last part of its name. Nothing is written to disk, so that no path in the archive can do harm.
 *
 * @throws ParleyError INTERNAL when the archive holds no such file
 */
export function fileFromTarGz(archive: Uint8Array, name: string): Uint8Array {
  const tar = gunzipSync(archive);
  for (let at = 0; at + BLOCK <= tar.length;) {
    const field = (start: number, length: number) =>
      tar.toString('latin1', at + start, at + start + length).replace(/\0.*$/s, '');
    const bytes = parseInt(field(124, 12).trim() || '0', 8);
    const start = at + BLOCK;
    const isFile = field(156, 1) === '0' || field(156, 1) === '';
    if (isFile && field(0, 100).split('/').at(-1) === name) return tar.subarray(start, start + bytes);
    at = start + Math.ceil(bytes / BLOCK) * BLOCK;
  }
  throw new ParleyError('INTERNAL', `The archive holds no file ${name}`);
}

import { AwsClient } from 'aws4fetch';
import { ParleyError } from '@parley/runtime';
import { interruption, send } from './http.js';
import { requireComplete, selectModelFiles } from './model-files.js';
import { persist, watchForStall } from './persist.js';
import type { Transport } from './persist.js';
import type { Digest, RemoteFile, RemoteModel } from './remote-model.js';
import { parseS3Error, parseS3List } from './s3-xml.js';
import type { S3Object } from './s3-xml.js';

/** A store that speaks the protocol of Amazon S3. */
export interface S3Options {
  /** Of another store than Amazon's, such as MinIO; its buckets are addressed in the path. */
  endpoint: string | undefined;
  region: string;
  /** Requests are not signed without them, which is enough for public buckets. */
  credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined;
  transport: Transport;
}

/**
 * Finds a model below a prefix (which ends with a slash unless it is empty).
 *
 * @throws ParleyError MODEL_UNKNOWN for a bucket that is not there; PERMISSION_DENIED, UNAUTHENTICATED with what to do;
 *   CONFIG_INVALID for another region; CHECKPOINT_INVALID naming what is missing; SERVICE_UNAVAILABLE; REMOTE_FAILURE
 */
export async function listS3Folder(options: S3Options, bucket: string, prefix: string): Promise<RemoteModel> {
  const ask = signer(options, bucket);
  const base = bucketUrl(options, bucket);
  const objects = new Map<string, S3Object>();
  let token: string | undefined;
  do {
    const query = new URLSearchParams({ 'list-type': '2', delimiter: '/', 'encoding-type': 'url', prefix });
    if (token !== undefined) query.set('continuation-token', token);
    const page = parseS3List(await readText(options.transport, `${base}?${query.toString()}`, ask));
    if (page === undefined)
      throw new ParleyError('REMOTE_FAILURE', `${base} does not answer as S3 does to ListObjectsV2`);
    for (const object of page.objects) objects.set(object.key.slice(prefix.length), object);
    token = page.nextToken;
  } while (token !== undefined);
  const label = `s3://${bucket}/${prefix}`;
  requireComplete([...objects.keys()], label);
  const files = selectModelFiles([...objects.keys()])
    .map((name) => remoteFile(objects.get(name) as S3Object, { name, base, ask }))
    .sort((one, other) => (one.size ?? 0) - (other.size ?? 0));
  return { label, files };
}

type Ask = (url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal) => Promise<Response>;

function remoteFile(
  { key, size, etag }: S3Object,
  { name, base, ask }: { name: string; base: string; ask: Ask },
): RemoteFile {
  const url = `${base}${key.split('/').map(encodeURIComponent).join('/')}`;
  // The entity tag of an object that was stored in one piece is its MD5, unless a key of KMS encrypts it.
  let isMd5 = /^"[0-9a-f]{32}"$/.test(etag);
  return {
    name,
    url,
    size,
    get digest(): Digest | undefined {
      return isMd5 ? { algorithm: 'md5', hex: etag.slice(1, -1) } : undefined;
    },
    etag,
    async open({ from, signal }) {
      const range: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
      const response = await ask(url, { 'if-match': etag, ...range }, signal);
      if (response.headers.get('x-amz-server-side-encryption')?.startsWith('aws:kms')) isMd5 = false;
      return response;
    },
  };
}

/** Amazon's own buckets have hosts of their own; a dot in the name would not fit the certificate. */
function bucketUrl({ endpoint, region }: S3Options, bucket: string): string {
  if (endpoint !== undefined) return `${endpoint.replace(/\/+$/, '')}/${bucket}/`;
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  if (bucket.includes('.')) return `https://s3.${region}.${domain}/${bucket}/`;
  return `https://${bucket}.s3.${region}.${domain}/`;
}

/** Requests with the signature of AWS (version 4). */
function signer(options: S3Options, bucket: string): Ask {
  const { region, credentials } = options;
  const client = credentials && new AwsClient({ ...credentials, service: 's3', region });
  return async (url, headers, signal) => {
    const signed = await client?.sign(url, { headers });
    const all = Object.fromEntries(new Headers(signed?.headers ?? headers));
    const { authorization, ...others } = all;
    return send({ url, headers: others, authorization, signal, explain: explainer(options, bucket) });
  };
}

async function readText(transport: Transport, url: string, ask: Ask): Promise<string> {
  return persist(transport, async () => {
    using watch = watchForStall(transport, url);
    const response = await ask(url, {}, watch.signal);
    try {
      return await response.text();
    } catch (error) {
      throw interruption(url, error, watch.signal);
    }
  });
}

function explainer({ region, credentials }: S3Options, bucket: string) {
  const signed = credentials
    ? `the access key ${credentials.accessKeyId}`
    : 'no access key (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)';
  return async (response: Response, url: string): Promise<ParleyError | undefined> => {
    const { status, headers } = response;
    const { code, message } = parseS3Error(await response.text());
    const details = { url, code, status: String(status) };
    const said = message === '' ? '' : ` The store says: "${message}"`;
    const other = headers.get('x-amz-bucket-region');
    if (other !== null && other !== region && (status === 301 || status === 400)) {
      const text = `The bucket ${bucket} lies in the region ${other}, not ${region}: set AWS_REGION=${other}`;
      return new ParleyError('CONFIG_INVALID', text, { details });
    }
    if (status === 412)
      return new ParleyError(
        'REVISION_CONFLICT',
        `${url} was replaced while it was fetched; fetch it again`,
        { details },
      );
    switch (code) {
      case 'NoSuchBucket':
        return new ParleyError('MODEL_UNKNOWN', `There is no bucket ${bucket} (region ${region})`, {
          details,
        });
      case 'InvalidAccessKeyId':
      case 'SignatureDoesNotMatch':
      case 'ExpiredToken':
      case 'InvalidToken':
        return new ParleyError('UNAUTHENTICATED', `${url} does not take ${signed}: ${code}.${said}`, {
          details,
        });
      case 'RequestTimeTooSkewed': {
        const text = `The clock of this machine is too far from that of ${url}: set it right.${said}`;
        return new ParleyError('UNAUTHENTICATED', text, { details });
      }
    }
    if (status !== 401 && status !== 403) return undefined;
    const text = `${url} may not be read with ${signed}: it takes s3:GetObject and s3:ListBucket.${said}`;
    return new ParleyError('PERMISSION_DENIED', text, { details });
  };
}

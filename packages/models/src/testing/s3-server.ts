import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { TestContext } from 'node:test';
import { answerWith } from './faults.js';
import type { FaultPlan } from './faults.js';
import { startTestServer } from './test-server.js';
import type { Exchange, TestServer } from './test-server.js';

/** A store for tests. */
export interface S3ServerOptions {
  bucket: string;
  objects: ReadonlyMap<string, Buffer>;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Objects in one answer. */
  pageSize?: number;
  /** Entity tags are no MD5, as with keys of KMS. */
  encrypted?: boolean;
  faults?: FaultPlan;
}

/** A server that speaks as much of S3 as it takes to fetch a model: ListObjectsV2, GetObject, signatures of version 4. */
export async function startS3Server(t: TestContext, options: S3ServerOptions): Promise<TestServer> {
  return startTestServer(t, options.faults ?? (() => undefined), async (exchange) =>
    answer(exchange, options),
  );
}

function answer({ asked, url, request, response, fault }: Exchange, options: S3ServerOptions): void {
  const { bucket, objects, pageSize = 1000, encrypted } = options;
  const refuse = (status: number, code: string, headers: Record<string, string> = {}) =>
    void response
      .writeHead(status, { 'content-type': 'application/xml', ...headers })
      .end(
        `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no: &quot;${code}&quot;</Message></Error>`,
      );
  if (fault?.kind === 'status') return answerWith(response, Buffer.alloc(0), asked, fault, {});
  const wrong = signatureFault(request, url, options);
  if (wrong !== undefined) return refuse(403, wrong);
  const [, named = '', key = ''] = /^\/([^/]+)\/?(.*)$/.exec(asked.path) ?? [];
  if (named !== bucket) return refuse(404, 'NoSuchBucket');
  const etagOf = (content: Buffer) =>
    `"${createHash('md5')
      .update(content)
      .update(encrypted ? 'encrypted' : '')
      .digest('hex')}"`;
  if (key === '') {
    const prefix = url.searchParams.get('prefix') ?? '';
    const start = Number(url.searchParams.get('continuation-token') ?? 0);
    const keys = [...objects.keys()]
      .filter((name) => name.startsWith(prefix) && !name.slice(prefix.length).includes('/'))
      .sort();
    const contents = keys.slice(start, start + pageSize).map((name) => {
      const content = objects.get(name) as Buffer;
      const quoted = etagOf(content).replaceAll('"', '&quot;');
      return `<Contents><Key>${new URLSearchParams({ k: name }).toString().slice(2)}</Key><ETag>${quoted}</ETag><Size>${content.length}</Size></Contents>`;
    });
    const more = start + pageSize < keys.length;
    const next = more ? `<NextContinuationToken>${start + pageSize}</NextContinuationToken>` : '';
    return void response.end(
      `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${more}</IsTruncated>${next}${contents.join('')}</ListBucketResult>`,
    );
  }
  const content = objects.get(key);
  if (content === undefined) return refuse(404, 'NoSuchKey');
  if (request.headers['if-match'] !== etagOf(content)) return refuse(412, 'PreconditionFailed');
  answerWith(response, content, asked, fault, {
    etag: etagOf(content),
    ...(encrypted && { 'x-amz-server-side-encryption': 'aws:kms' }),
  });
}

/** Why a request is not signed as it should be (AWS Signature Version 4, with the payload unsigned). */
function signatureFault(request: IncomingMessage, url: URL, options: S3ServerOptions): string | undefined {
  const { region, accessKeyId, secretAccessKey } = options;
  const { headers } = request;
  const found =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)$/.exec(
      headers.authorization ?? '',
    );
  if (!found) return 'AccessDenied';
  const [, id, day = '', signedRegion, names = '', signature] = found;
  if (id !== accessKeyId) return 'InvalidAccessKeyId';
  if (signedRegion !== region) return 'AuthorizationHeaderMalformed';
  const query = [...url.searchParams]
    .map((pair) => pair.map(encode).join('='))
    .sort()
    .join('&');
  const canonical = [
    request.method,
    url.pathname
      .split('/')
      .map((part) => encode(decodeURIComponent(part)))
      .join('/'),
    query,
    ...names.split(';').map((name) => `${name}:${String(headers[name])}`),
    '',
    names,
    headers['x-amz-content-sha256'],
  ].join('\n');
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], `${day}/${region}/s3/aws4_request`, hash].join(
    '\n',
  );
  const hmac = (key: Buffer | string, data: string) => createHmac('sha256', key).update(data).digest();
  const key = [region, 's3', 'aws4_request'].reduce<Buffer>(hmac, hmac(`AWS4${secretAccessKey}`, day));
  return hmac(key, text).toString('hex') === signature ? undefined : 'SignatureDoesNotMatch';
}

const encode = (text: string) =>
  encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** An object of a bucket. */
export interface S3Object {
  key: string;
  size: number;
  /** With its quotation marks. */
  etag: string;
}

/** One answer to ListObjectsV2. */
export interface S3Page {
  objects: S3Object[];
  /** What the next page is asked for with; undefined after the last. */
  nextToken: string | undefined;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/**
 * Reads an answer to ListObjectsV2 with `encoding-type=url` (Amazon S3 API reference). Undefined if the text is none. The
 * document has no attributes, comments or nesting that would matter, so that no general parser is needed.
 */
export function parseS3List(xml: string): S3Page | undefined {
  if (!/<ListBucketResult[\s>]/.test(xml)) return undefined;
  const objects = [...xml.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)].map(([, content = '']) => ({
    // Of the form application/x-www-form-urlencoded.
    key: new URLSearchParams(`key=${element(content, 'Key') ?? ''}`).get('key') ?? '',
    size: Number(element(content, 'Size')),
    etag: element(content, 'ETag') ?? '',
  }));
  if (objects.some(({ key, size }) => key === '' || !Number.isSafeInteger(size) || size < 0))
    return undefined;
  const isTruncated = element(xml, 'IsTruncated') === 'true';
  return { objects, nextToken: isTruncated ? element(xml, 'NextContinuationToken') : undefined };
}

/** Code and message of an error document; empty where there is none. */
export function parseS3Error(xml: string): { code: string; message: string } {
  return { code: element(xml, 'Code') ?? '', message: element(xml, 'Message') ?? '' };
}

function element(xml: string, name: string): string | undefined {
  const [, text] = new RegExp(`<${name}>([\\s\\S]*?)</${name}>`).exec(xml) ?? [];
  return text?.replaceAll(
    /&(?:#(x?)([0-9a-fA-F]+)|(\w+));/g,
    (whole, hex: string, number: string, named: string) => {
      if (named !== undefined) return ENTITIES[named] ?? whole;
      return String.fromCodePoint(Number.parseInt(number, hex === 'x' ? 16 : 10));
    },
  );
}

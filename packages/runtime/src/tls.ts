import { experimental } from '@grpc/grpc-js';
import type { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import { readCertificates, watchCertificates } from './certificate-files.js';
import type { TlsFiles } from './certificate-files.js';
import { optional, path } from './config.js';
import type { ConfigOf } from './config.js';
import { ParleyError } from './errors.js';
import type { Log } from './log.js';
import { createMetrics, gauge, onCollect } from './metrics.js';
import type { Registry } from './metrics.js';

/** The settings of a service's certificate; spread them into its own fields. */
export const TLS_FIELDS = {
  tlsCa: optional(
    path('PARLEY_TLS_CA_FILE', {
      description: 'certificates (PEM) that sign those of the mesh; with the next two it turns mutual TLS on',
    }),
  ),
  tlsCert: optional(
    path('PARLEY_TLS_CERT_FILE', {
      description: "this service's certificate chain (PEM); read again when it changes",
    }),
  ),
  tlsKey: optional(path('PARLEY_TLS_KEY_FILE', { description: 'private key (PEM) of that certificate' })),
} as const;

/** The values of {@link TLS_FIELDS}. */
export type TlsConfig = ConfigOf<typeof TLS_FIELDS>;

/** Mutual TLS with certificates from files, which are read again while the process runs: a rotation needs no restart. */
export interface Tls {
  readonly files: TlsFiles;
  /** @param clients - whether callers must show a certificate of the mesh, or may */
  server(clients: 'required' | 'optional'): ServerCredentials;
  client(): ChannelCredentials;
}

/** Certificates are looked at this often; an orchestrator replaces them days before they expire. */
const REFRESH_MS = 10_000;

/**
 * The TLS of a service, or `undefined` where none is configured.
 *
 * @param options - `refreshMs` is the pause between two looks at the files, 10 s unless given
 * @throws ParleyError CONFIG_INVALID naming what is missing, cannot be read, or does not fit together
 */
export function openTls(
  { tlsCa: ca, tlsCert: cert, tlsKey: key }: TlsConfig,
  options: { log: Log; refreshMs?: number },
): Tls | undefined {
  if (ca === undefined && cert === undefined && key === undefined) return undefined;
  if (ca === undefined || cert === undefined || key === undefined) {
    const message =
      'PARLEY_TLS_CA_FILE, PARLEY_TLS_CERT_FILE and PARLEY_TLS_KEY_FILE belong together; set all or none';
    throw new ParleyError('CONFIG_INVALID', message);
  }
  const files = { ca, cert, key };
  const provider = watchCertificates(files, readCertificates(files), { refreshMs: REFRESH_MS, ...options });
  // grpc-js marks its reloading credentials as experimental; without them every rotation would need a restart.
  const { createCertificateProviderServerCredentials, createCertificateProviderChannelCredentials } =
    experimental;
  return {
    files,
    server: (clients) =>
      createCertificateProviderServerCredentials(provider, provider, clients === 'required'),
    client: () => createCertificateProviderChannelCredentials(provider, provider),
  };
}

/** What is measured of certificates. */
export const TLS_METRICS = {
  expiry: gauge(
    'parley_tls_certificate_expiry_timestamp_seconds',
    'When the certificate of this service expires, in seconds since the epoch',
  ),
};

/** Shows when the certificate expires, as the files say at the time of asking. */
export function observeExpiry({ files }: Tls, registry: Registry, log: Log): void {
  const { expiry } = createMetrics(TLS_METRICS, registry);
  onCollect(expiry, log, () => {
    expiry.set(Date.parse(readCertificates(files).certificate.validTo) / 1000);
  });
}

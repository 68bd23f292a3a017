import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { experimental } from '@grpc/grpc-js';
import { ParleyError } from './errors.js';
import type { Log } from './log.js';

/** Files of a certificate, PEM. */
export interface TlsFiles {
  /** Certificates that sign those of others. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** What the files hold. */
export interface TlsContent {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The first certificate of the chain. */
  readonly certificate: X509Certificate;
}

const VARIABLES = {
  ca: 'PARLEY_TLS_CA_FILE',
  cert: 'PARLEY_TLS_CERT_FILE',
  key: 'PARLEY_TLS_KEY_FILE',
} as const satisfies Record<keyof TlsFiles, string>;

/** @throws ParleyError CONFIG_INVALID naming the file that cannot be read, or that does not belong to the others */
export function readCertificates(files: TlsFiles): TlsContent {
  const read = <T>(name: keyof TlsFiles, what: string, parse: (pem: Buffer) => T): [Buffer, T] => {
    try {
      const pem = readFileSync(files[name]);
      return [pem, parse(pem)];
    } catch (error) {
      const message = `${VARIABLES[name]}: ${files[name]} is no readable ${what} in PEM: ${(error as Error).message}`;
      throw new ParleyError('CONFIG_INVALID', message, { details: { file: files[name] }, cause: error });
    }
  };
  const [ca] = read('ca', 'certificate', (pem) => new X509Certificate(pem));
  const [cert, certificate] = read('cert', 'certificate', (pem) => new X509Certificate(pem));
  const [key, privateKey] = read('key', 'private key', (pem) => createPrivateKey(pem));
  if (certificate.checkPrivateKey(privateKey)) return { ca, cert, key, certificate };
  throw new ParleyError(
    'CONFIG_INVALID',
    `The key ${files.key} (${VARIABLES.key}) is not that of the certificate ${files.cert} (${VARIABLES.cert})`,
  );
}

/**
 * The certificate of a service as grpc-js takes it, read again from its files every `refreshMs` while anybody uses it.
 * grpc-js has a provider of its own, which serves nothing before its first look and nothing again after a failed one; this
 * one begins with what has been checked, and keeps it until other files that fit together are there.
 */
export function watchCertificates(
  files: TlsFiles,
  first: TlsContent,
  { refreshMs, log }: { refreshMs: number; log: Log },
): experimental.CertificateProvider {
  let content = first;
  let timer: NodeJS.Timeout | undefined;
  const caListeners = new Set<experimental.CaCertificateUpdateListener>();
  const identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();
  const tellCa = (listener: experimental.CaCertificateUpdateListener) =>
    listener({ caCertificate: content.ca });
  const tellIdentity = (listener: experimental.IdentityCertificateUpdateListener) =>
    listener({ certificate: content.cert, privateKey: content.key });

  const look = () => {
    try {
      const found = readCertificates(files);
      if (
        ['ca', 'cert', 'key'].every((name) =>
          content[name as keyof TlsFiles].equals(found[name as keyof TlsFiles]),
        )
      )
        return;
      content = found;
      caListeners.forEach(tellCa);
      identityListeners.forEach(tellIdentity);
      log.info({ files, expires: found.certificate.validTo }, 'certificates were replaced');
    } catch (error) {
      log.warn({ err: error }, 'certificates cannot be read again; going on with those read before');
    }
  };
  const watchWhileUsed = () => {
    const used = caListeners.size + identityListeners.size > 0;
    if (used) timer ??= setInterval(look, refreshMs).unref();
    else timer = void clearInterval(timer);
  };
  return {
    addCaCertificateListener(listener) {
      caListeners.add(listener);
      watchWhileUsed();
      // Whoever adds a listener is not ready to hear it before it returns.
      process.nextTick(tellCa, listener);
    },
    removeCaCertificateListener(listener) {
      caListeners.delete(listener);
      watchWhileUsed();
    },
    addIdentityCertificateListener(listener) {
      identityListeners.add(listener);
      watchWhileUsed();
      process.nextTick(tellIdentity, listener);
    },
    removeIdentityCertificateListener(listener) {
      identityListeners.delete(listener);
      watchWhileUsed();
    },
  };
}

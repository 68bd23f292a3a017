import { webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
// What @peculiar/x509 is built with needs it at run time.
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { Extension } from '@peculiar/x509';
import { identityName } from './identity.js';
import type { Identity } from './identity.js';
import type { TlsFiles } from './certificate-files.js';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

/** What a certificate for tests says. */
export interface TestCertificateOptions {
  identity?: Identity;
  /** Further DNS names; `localhost` and 127.0.0.1 are always there. */
  dnsNames?: readonly string[];
  /** `CN=` and the name of the file unless given. */
  subject?: string;
  /** From now; 1 unless given, negative for one that has expired. */
  validDays?: number;
}

/** A certificate authority for tests. Its files are PEM. */
export interface TestAuthority {
  /** Writes `<name>.crt` and `<name>.key`, over those of that name; returns the paths, the authority's own among them. */
  issue(name: string, options?: TestCertificateOptions): Promise<TlsFiles>;
}

/** @param folder - where files are written; it must exist */
export async function createTestAuthority(folder: string, name = 'ca'): Promise<TestAuthority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const subject = `CN=parley test ${name}`;
  const now = Date.now();
  const own = await X509CertificateGenerator.create(
    {
      subject,
      issuer: subject,
      notBefore: new Date(now - DAY_MS),
      notAfter: new Date(now + DAY_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: keys.privateKey,
      extensions: [new BasicConstraintsExtension(true, 0, true)],
    },
    webcrypto,
  );
  const ca = join(folder, `${name}.crt`);
  await writeFile(ca, own.toString('pem'));
  return {
    async issue(file, { identity, dnsNames = [], subject: leafSubject = `CN=${file}`, validDays = 1 } = {}) {
      const leaf = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
      const names = ['localhost', ...dnsNames, ...(identity ? [identityName(identity)] : [])];
      const extensions: Extension[] = [
        new SubjectAlternativeNameExtension([
          ...names.map((value) => ({ type: 'dns' as const, value })),
          { type: 'ip', value: '127.0.0.1' },
        ]),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      ];
      const certificate = await X509CertificateGenerator.create(
        {
          subject: leafSubject,
          issuer: own.subject,
          notBefore: new Date(now - 2 * DAY_MS),
          notAfter: new Date(now + validDays * DAY_MS),
          signingAlgorithm: ALGORITHM,
          publicKey: leaf.publicKey,
          signingKey: keys.privateKey,
          extensions,
        },
        webcrypto,
      );
      const [cert, key] = [join(folder, `${file}.crt`), join(folder, `${file}.key`)];
      const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', leaf.privateKey);
      await writeFile(cert, certificate.toString('pem'));
      await writeFile(key, PemConverter.encode(pkcs8, 'PRIVATE KEY'));
      return { ca, cert, key };
    },
  };
}

export { startOtlpReceiver } from './otlp-receiver.js';
export type { OtlpReceiver, ReceivedSpan } from './otlp-receiver.js';

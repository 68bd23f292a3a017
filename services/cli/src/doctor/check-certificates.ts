import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { withDeadline } from '@parley/runtime';
import type { Env } from '@parley/runtime';
import { ok, problem, unknown, warning } from './finding.js';
import type { Finding } from './finding.js';

const DAY_MS = 86_400_000;
/** As the alert says that ships with the chart. */
const SOON_DAYS = 14;
const HANDSHAKE_DEADLINE_MS = 5000;

/** The certificate of this client, if it has one, and those that servers show. @param addresses - host:port by name */
export async function checkCertificates(
  env: Env,
  addresses: ReadonlyMap<string, string>,
  nowMs: () => number,
): Promise<Finding[]> {
  const { PARLEY_TLS_CA_FILE: ca, PARLEY_TLS_CERT_FILE: cert } = env;
  if (!ca && !cert)
    return [ok('certificates', 'this client speaks plain text (PARLEY_TLS_CA_FILE is not set)')];
  const own = cert
    ? [expiry('certificate of this client', new X509Certificate(readFileSync(cert)), nowMs())]
    : [];
  const shown = await Promise.all(
    [...addresses].map(async ([name, address]) => {
      const subject = `certificate of ${name}`;
      try {
        return expiry(subject, await shownBy(address), nowMs());
      } catch (error) {
        return unknown(subject, `${address}: ${(error as Error).message}`);
      }
    }),
  );
  return [...own, ...shown];
}

/** What a server shows before it asks for anything; whether it is to be trusted is for the calls to say. */
function shownBy(address: string): Promise<X509Certificate> {
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(address) ?? [];
  const what = `looking at the certificate of ${address}`;
  return withDeadline(
    { deadlineMs: HANDSHAKE_DEADLINE_MS, what },
    (signal) =>
      new Promise((resolve, reject) => {
        const options = { host, port: Number(port), servername: host, ALPNProtocols: ['h2'] };
        const socket = connect({ ...options, rejectUnauthorized: false }, () => {
          const { raw } = socket.getPeerCertificate();
          socket.destroy();
          if (raw === undefined) reject(new Error('it shows none'));
          else resolve(new X509Certificate(raw));
        });
        socket.once('error', reject);
        signal.addEventListener('abort', () => socket.destroy(), { once: true });
      }),
  );
}

function expiry(
  subject: string,
  { validFrom, validTo, subjectAltName = '' }: X509Certificate,
  nowMs: number,
): Finding {
  const days = Math.floor((Date.parse(validTo) - nowMs) / DAY_MS);
  const names = subjectAltName.replaceAll('DNS:', '').split(', ').slice(0, 2).join(', ');
  if (Date.parse(validFrom) > nowMs)
    return problem(subject, `valid from ${validFrom} on`, 'check the clocks');
  if (days < 0)
    return problem(subject, `expired on ${validTo}`, 'renew it; services read the new file by themselves');
  const detail = `${names}: ${days} days left`;
  if (days < SOON_DAYS) return warning(subject, detail, 'renew it; services read the new file by themselves');
  return ok(subject, detail);
}

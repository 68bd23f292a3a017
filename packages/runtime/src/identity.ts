import type { PeerCertificate } from 'node:tls';
import type { DescService } from '@bufbuild/protobuf';
import { ParleyError } from './errors.js';
import type { Authorize } from './grpc-handler.js';

/**
 * Whom a certificate speaks for in the mesh. `operator` is whoever runs the mesh: the command line, the chart's test.
 * `topology` makes streams and consumers, and nothing else.
 */
export type Identity =
  | { readonly role: 'coordinator' | 'pmi' | 'operator' | 'topology' }
  | { readonly role: 'peer'; readonly name: string };

/** The part that an identity plays. */
export type Role = Identity['role'];

const STATED = /^DNS:(?:(coordinator|pmi|operator|topology)|([A-Za-z0-9_-]{1,59})\.peer)\.parley\.internal$/;

/**
 * The DNS name (a subject alternative name, RFC 5280 section 4.2.1.6) by which a certificate states an identity:
 * `coordinator.parley.internal`, `llama.peer.parley.internal`. gRPC servers and nats-server (`verify_and_map`) both decide
 * on it. `.internal` is reserved for private use, so that no public authority signs such a name.
 */
export function identityName(identity: Identity): string {
  const label = identity.role === 'peer' ? `${identity.name}.peer` : identity.role;
  return `${label}.parley.internal`;
}

/**
 * The identity that a verified certificate states; `undefined` if it states none.
 *
 * @throws ParleyError PERMISSION_DENIED if it states several: which of them counted would be left to chance
 */
export function identityOf({
  subjectaltname = '',
}: Pick<PeerCertificate, 'subjectaltname'>): Identity | undefined {
  const stated = subjectaltname.split(', ').flatMap((entry): Identity[] => {
    const [, role, name] = STATED.exec(entry) ?? [];
    if (name !== undefined) return [{ role: 'peer', name }];
    return role === undefined ? [] : [{ role: role as Exclude<Role, 'peer'> }];
  });
  if (stated.length <= 1) return stated[0];
  const names = stated.map(identityName).join(', ');
  throw new ParleyError(
    'PERMISSION_DENIED',
    `The certificate states several identities (${names}); give each service one of its own`,
  );
}

/** Which roles may call each method of a service. */
export type RolePolicy<S extends DescService> = { readonly [K in keyof S['method']]: readonly Role[] };

/** Lets the roles of a policy call, by their certificate; its names are those of methods as code spells them. */
export function allowRoles<S extends DescService>(service: S, policy: RolePolicy<S>): Authorize {
  const allowed = new Map(
    service.methods.map(({ name, localName }) => [
      `${service.typeName}/${name}`,
      policy[localName as keyof S['method']],
    ]),
  );
  return async ({ method, certificate, caller }) => {
    const identity = certificate && identityOf(certificate);
    if (identity === undefined) {
      const message = `${method} needs a certificate that states an identity of the mesh; ${caller} gave none`;
      throw new ParleyError('UNAUTHENTICATED', message);
    }
    const name = identityName(identity);
    const roles = allowed.get(method) ?? [];
    if (roles.includes(identity.role)) return name;
    const message = `${name} may not call ${method}; it is for ${roles.join(', ') || 'nobody'}`;
    throw new ParleyError('PERMISSION_DENIED', message, { details: { method, identity: name } });
  };
}

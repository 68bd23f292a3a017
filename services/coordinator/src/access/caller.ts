/** What a caller of the coordinator may do: `viewer` looks, `operator` also changes. */
export type AccessRole = 'viewer' | 'operator';

/** Who calls. */
export interface Caller {
  /** For audit events and limits: the name of a token, the subject of an OpenID Connect token, a certificate's identity. */
  readonly name: string;
  readonly role: AccessRole;
}

/** Finds out who holds a bearer token (RFC 6750); `undefined` if it knows no such token. */
export type TokenVerifier = (token: string) => Promise<Caller | undefined>;

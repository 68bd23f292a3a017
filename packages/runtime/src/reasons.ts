/** The canonical gRPC status codes and their numbers (grpc/grpc `doc/statuscodes.md`), without OK. */
export const CODES = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** Name of a canonical gRPC status code that reports a failure. */
export type Code = keyof typeof CODES;

/** What the registry knows of one reason. */
export interface ReasonEntry {
  /** The gRPC code an error of this reason travels under. */
  readonly code: Code;
  /** One line for people: what happened, and so what can be done. */
  readonly description: string;
}

function reason<C extends Code>(code: C, description: string) {
  return { code, description } as const;
}

/**
 * Every reason a Parley service gives for a failure. `docs/errors.md` lists the same, and a test keeps both
 * equal. A reason is part of the contract: clients decide on it, so that a name once released is never reused.
 */
export const REASONS = {
  CHECKPOINT_INVALID: reason(
    'FAILED_PRECONDITION',
    'A model folder or one of its files is missing, truncated or malformed.',
  ),
  MODEL_UNKNOWN: reason(
    'NOT_FOUND',
    'No model or revision lies where the URI says, or the credentials may not see it.',
  ),
  TENSOR_INVALID: reason('FAILED_PRECONDITION', 'A tensor is missing or has the wrong shape or type.'),
  ARCHITECTURE_UNKNOWN: reason(
    'INVALID_ARGUMENT',
    'The checkpoint names an architecture this engine does not build.',
  ),
  TOKENIZER_MISMATCH: reason(
    'FAILED_PRECONDITION',
    "The tokenizer produces ids outside the model's vocabulary, or lacks a special token the model needs.",
  ),
  PROMPT_TOO_LONG: reason('INVALID_ARGUMENT', "A prompt does not fit the model's context window."),
  PROMPT_FILE_INVALID: reason('INVALID_ARGUMENT', 'A prompt file is empty or a line of it cannot be read.'),
  CONTAMINATED: reason('INVALID_ARGUMENT', 'Questions to measure on are among those that were trained on.'),
  WEIGHT_NOT_FINITE: reason('INVALID_ARGUMENT', 'An update carries a weight that is NaN or infinite.'),
  RECIPE_INVALID: reason('INVALID_ARGUMENT', 'A run specification has missing or contradictory fields.'),
  STUDY_INVALID: reason(
    'INVALID_ARGUMENT',
    'The specification of a study, or its file of results, is not sound.',
  ),
  CONFIG_INVALID: reason('INVALID_ARGUMENT', 'Environment variables or options are missing or malformed.'),
  REQUEST_INVALID: reason('INVALID_ARGUMENT', 'A field of a request is missing or out of its range.'),
  NAME_INVALID: reason(
    'INVALID_ARGUMENT',
    'A run id, peer name or type is not 1 to 64 characters of A-Z a-z 0-9 _ -.',
  ),
  MESSAGE_INVALID: reason('INVALID_ARGUMENT', 'A stored message cannot be decoded as the type it claims.'),
  MESSAGE_TOO_LARGE: reason('RESOURCE_EXHAUSTED', 'A message exceeds the size the receiver accepts.'),
  RUN_UNKNOWN: reason('NOT_FOUND', 'No run has this id.'),
  RUN_STATE_CONFLICT: reason('FAILED_PRECONDITION', 'The run is in a state that does not allow the request.'),
  PEER_UNKNOWN: reason('NOT_FOUND', 'No peer has this name.'),
  PEER_LOST: reason('UNAVAILABLE', 'A peer stopped answering in the middle of its work.'),
  PEER_BUSY: reason('FAILED_PRECONDITION', 'A peer learns in another active run.'),
  PEERS_ALIKE: reason('FAILED_PRECONDITION', 'Peers of a run have the same weights.'),
  PEER_QUARANTINED: reason('FAILED_PRECONDITION', 'A guard left a peer out of what follows in its run.'),
  SERVICE_UNAVAILABLE: reason('UNAVAILABLE', 'Nothing answers at a gRPC address.'),
  REMOTE_FAILURE: reason('UNKNOWN', 'A service answered with an error that gives no reason.'),
  UNIMPLEMENTED: reason('UNIMPLEMENTED', 'The service does not offer this method.'),
  PORT_IN_USE: reason('FAILED_PRECONDITION', 'Another process listens on the port already.'),
  ADDRESS_UNUSABLE: reason('FAILED_PRECONDITION', 'The host or port cannot be listened on.'),
  NATS_UNREACHABLE: reason('UNAVAILABLE', 'No nats-server answers at the address.'),
  NATS_DENIED: reason('UNAUTHENTICATED', 'The nats-server refused the login.'),
  NATS_TOO_OLD: reason(
    'FAILED_PRECONDITION',
    'The nats-server is older than the oldest supported version, alone or in a cluster.',
  ),
  NATS_NO_JETSTREAM: reason('FAILED_PRECONDITION', 'The nats-server runs without JetStream.'),
  NATS_NOT_FOUND: reason(
    'FAILED_PRECONDITION',
    'No nats-server program is on this machine, and none could be installed.',
  ),
  STREAM_CONFLICT: reason(
    'FAILED_PRECONDITION',
    'A JetStream stream, consumer or bucket exists with settings that contradict the wanted ones.',
  ),
  STREAM_MISSING: reason('FAILED_PRECONDITION', 'A JetStream stream, consumer or bucket does not exist.'),
  BUS_UNAVAILABLE: reason('UNAVAILABLE', 'NATS did not confirm an operation in time; repeating it is safe.'),
  UNAUTHENTICATED: reason('UNAUTHENTICATED', 'The caller gave no valid certificate or token.'),
  PERMISSION_DENIED: reason('PERMISSION_DENIED', 'The caller is known, but may not do this.'),
  RATE_LIMITED: reason(
    'RESOURCE_EXHAUSTED',
    'The caller asks more often than it may; it may again in a moment.',
  ),
  REVISION_CONFLICT: reason('ABORTED', 'Another writer changed the entry first; read it again and retry.'),
  LEASE_HELD: reason('FAILED_PRECONDITION', 'Another process holds the lease.'),
  LEASE_LOST: reason('ABORTED', 'The lease expired or was taken over; its holder must stop at once.'),
  BLOB_MISSING: reason('NOT_FOUND', 'No blob lies at the URI.'),
  DIGEST_MISMATCH: reason('DATA_LOSS', 'Content does not have the SHA-256 digest its reference names.'),
  STATE_CORRUPT: reason('DATA_LOSS', 'Committed state on disk cannot be read back.'),
  DISK_FULL: reason('RESOURCE_EXHAUSTED', 'The disk has no room; what was there before is intact.'),
  VERSION_MISMATCH: reason(
    'FAILED_PRECONDITION',
    'The request needs a version that the peer does not serve.',
  ),
  VERSION_NOT_KEPT: reason('NOT_FOUND', 'The peer no longer keeps the weights of that version.'),
  TRAINING_DIVERGED: reason(
    'FAILED_PRECONDITION',
    'Loss or gradients stopped being finite; the weights are as before the update.',
  ),
  MEMORY_EXCEEDED: reason(
    'RESOURCE_EXHAUSTED',
    'Training as configured would take more memory than the process may have.',
  ),
  PARITY_BROKEN: reason(
    'INTERNAL',
    'Generation and training disagree about a new version; it is not served.',
  ),
  DEADLINE_EXCEEDED: reason('DEADLINE_EXCEEDED', 'The work was not done before its deadline.'),
  CANCELLED: reason('CANCELLED', 'The caller gave up the work.'),
  SHUTTING_DOWN: reason('UNAVAILABLE', 'The service is draining; another replica or a restart will answer.'),
  INTERNAL: reason('INTERNAL', 'A defect in Parley; the log of the service holds the stack.'),
} as const satisfies Record<string, ReasonEntry>;

/** A reason of the registry. */
export type Reason = keyof typeof REASONS;

/** Whether a text (say, from the wire) is a reason of this version's registry. */
export function isReason(text: string): text is Reason {
  return Object.hasOwn(REASONS, text);
}

/// <reference types="node" />

/** A key or a value: a string stands for its UTF-8. */
export type Bytes = string | Uint8Array

/** What `connect` is told; what is missing is the default. What the URI says of the same thing wins. */
export interface ConnectOptions {
  /** Namespace of calls that name none; by default the URI's, or the one without a name. */
  namespace?: string
  /** Time for a call that names none, in milliseconds with all its attempts: 1 to 300,000, by default 5,000. */
  deadlineMs?: number
  /** Time for connecting, and for one connection to a member, in milliseconds: 1 to 300,000, by default 5,000. */
  connectTimeoutMs?: number
  /** How often the master is pinged, in milliseconds: 1 to 300,000, by default 300. */
  pingIntervalMs?: number
  /** Calls open at once; further ones wait: 1 to 1,048,576, by default 16,384. */
  inflightMax?: number
  /** Connections to each member: 1 to 16, by default 1. */
  streamsPerMember?: number
  /** The client's name, for people. */
  clientName?: string
  /** Where the client stands: reads that backups may answer go to those of the same zone, if there is one. */
  zone?: string
  /** Gives the call up: connecting ends. */
  signal?: AbortSignal | null
}

/** What one call is told. */
export interface CallOptions {
  /** Time for the call with all its attempts, in milliseconds: 1 to 300,000, by default its client's. */
  deadlineMs?: number
  /**
   * Gives the call up, at the members, too; the promise is rejected with the signal's reason. A write that was sent may
   * have been applied.
   */
  signal?: AbortSignal | null
  /** W3C traceparent of the caller's span; by default its client's. */
  traceparent?: string
}

/** What a put is told. */
export interface PutOptions extends CallOptions {
  /** Lifetime of the key, in milliseconds: 1 to 315,360,000,000 (ten years), by default it lives for ever. */
  ttlMs?: number | null
}

/** What a call on many keys is told. */
export interface ManyOptions extends CallOptions {
  /** Errors stand among the results, instead of a ManyError that has the results. */
  returnErrors?: boolean
}

/** What a put of many keys is told. */
export interface PutManyOptions extends ManyOptions, PutOptions {}

/** Which keys. */
export interface Range {
  /** What the keys begin with. */
  prefix?: Bytes
  /** The first key. */
  start?: Bytes
  /** Behind the last key. */
  end?: Bytes
}

/** What a count is told. */
export interface CountOptions extends Range, CallOptions {}

/** What a dump is told. */
export interface DumpOptions extends Range, CallOptions {}

/** What a scan is told. `deadlineMs` is for each page. */
export interface ScanOptions extends Range, CallOptions {
  /** In key order, which costs more; else in slot order. */
  ordered?: boolean
  /** Without values: they are empty. */
  keysOnly?: boolean
  /** Ends the scan after so many items. */
  limit?: number
  /** Items in a page, which are fetched at a time: up to 10,000, by default 1,000. */
  pageItems?: number
  /** From an earlier scan of the same range: goes on where that one stood. */
  cursor?: Bytes | null
}

/** A value with its version. */
export interface Entry {
  /** The value. */
  value: Buffer
  /** Grows with every write of the key, also over a deletion. */
  version: bigint
  /** What is left of its lifetime, in milliseconds; null if it lives for ever. */
  ttlMs: number | null
}

/** What a put did. */
export interface Put {
  /** `unmet` if the condition did not hold and nothing was changed. */
  status: 'created' | 'updated' | 'unmet'
  /** The key's version after the operation; 0 if the key is absent. */
  version: bigint
  /** Whether the value was stored. */
  done: boolean
}

/** What a delete did. */
export interface Delete {
  /** `unmet` if the condition did not hold and nothing was changed. */
  status: 'deleted' | 'not_found' | 'unmet'
  /** The version of the deletion; with `unmet` the key's version as it stands; else 0. */
  version: bigint
  /** Whether the key was removed. */
  done: boolean
}

/** How fresh the answer of a read has to be. All but `linearizable` are answered by any replica that is fresh enough. */
export type ReadLevel = 'linearizable' | 'session' | 'stale'

/** What came of a write whose outcome was unknown. */
export interface WriteOutcome {
  /**
   * `created`, `updated` or `deleted` if it was applied; `not_found` or `unmet` if it was carried out and changed nothing;
   * `not_applied` if it was not and never will be; `forgotten` if nobody knows any more.
   */
  status: 'created' | 'updated' | 'deleted' | 'not_found' | 'unmet' | 'not_applied' | 'forgotten'
  /** The key's version as the write told it; 0 if it told none. */
  version: bigint
  /** The sum, if it was an increment. */
  number: bigint
  /** Whether the write changed something. */
  applied: boolean
}

/** A key of a scan. */
export interface Item {
  /** The key. */
  key: Buffer
  /** Its value; empty with `keysOnly`. */
  value: Buffer
  /** Its version. */
  version: bigint
  /** Its slot. */
  slot: number
  /** What is left of its lifetime, in milliseconds; null if it lives for ever. */
  ttlMs: number | null
}

/**
 * Connects to a cluster: `slotkv://host:port[,host:port...][/namespace][?option=value]`, with masters or any members of
 * it.
 *
 * A client keeps the process alive while calls are open, and only then; it need not be closed at the end.
 */
export function connect(uri: string, options?: ConnectOptions): Promise<Client>

/**
 * A connection to a cluster. Made by {@link connect}, for one thread: each worker makes its own.
 *
 * Any number of calls may be open at once; those of one turn of the event loop travel together. Values come back as
 * `Buffer`. Small ones share memory, as those of `Buffer.from` do: copy one that outlives many others.
 */
export class Client implements AsyncDisposable {
  private constructor()

  /** The value of a key; null if it is absent. */
  get(key: Bytes, options?: CallOptions): Promise<Buffer | null>

  /** The value of a key with its version; null if it is absent. */
  getEntry(key: Bytes, options?: CallOptions): Promise<Entry | null>

  /** Whether a key exists. */
  has(key: Bytes, options?: CallOptions): Promise<boolean>

  /** Stores a value. The key lives for ever, or for `ttlMs`. */
  put(key: Bytes, value: Bytes, options?: PutOptions): Promise<Put>

  /** Stores a value if the key is absent; otherwise the result is `unmet` with the key's version. */
  putIfAbsent(key: Bytes, value: Bytes, options?: PutOptions): Promise<Put>

  /** Stores a value if the key exists; otherwise the result is `unmet`. */
  updateIfPresent(key: Bytes, value: Bytes, options?: PutOptions): Promise<Put>

  /** Stores a value if the key exists in `version`; otherwise the result is `unmet` with the key's version. */
  compareAndSet(key: Bytes, value: Bytes, version: bigint | number, options?: PutOptions): Promise<Put>

  /**
   * Gives a key that exists a new lifetime, in milliseconds from now on; its value stays, its version grows. If there is no
   * such key, the result is `unmet`.
   */
  expire(key: Bytes, ttlMs: number, options?: CallOptions): Promise<Put>

  /**
   * Lets a key that exists live for ever; its value stays, its version grows. If there is no such key, the result is
   * `unmet`.
   */
  persist(key: Bytes, options?: CallOptions): Promise<Put>

  /** Removes a key. */
  delete(key: Bytes, options?: CallOptions): Promise<Delete>

  /** Removes a key if it exists in `version`; otherwise the result is `unmet` with the key's version. */
  deleteIfVersion(key: Bytes, version: bigint | number, options?: CallOptions): Promise<Delete>

  /**
   * Adds to a decimal number of 64 bits; the result is the sum. An absent key counts as 0. With NotANumberError and
   * NumberOverflowError the value is as it was.
   */
  increment(key: Bytes, delta?: bigint | number, options?: CallOptions): Promise<bigint>

  /**
   * What came of a write whose outcome is unknown, by the `token` of its error. If it was not applied, it never will be. Results
   * are kept for this for 60 s after the call has ended; later it may be `forgotten`.
   */
  outcome(token: Bytes, options?: CallOptions): Promise<WriteOutcome>

  /** The values of many keys, in their order. If a key fails, ManyError has the results of all of them. */
  getMany(keys: Iterable<Bytes>, options: ManyOptions & { returnErrors: true }): Promise<(Buffer | null | SlotkvError)[]>
  getMany(keys: Iterable<Bytes>, options?: ManyOptions): Promise<(Buffer | null)[]>

  /** Stores many values, given as a Map or as pairs; each key has its own result, in their order. */
  putMany(
    pairs: Iterable<readonly [Bytes, Bytes]>,
    options: PutManyOptions & { returnErrors: true },
  ): Promise<(Put | SlotkvError)[]>
  putMany(pairs: Iterable<readonly [Bytes, Bytes]>, options?: PutManyOptions): Promise<Put[]>

  /** Removes many keys; each has its own result, in their order. */
  deleteMany(keys: Iterable<Bytes>, options: ManyOptions & { returnErrors: true }): Promise<(Delete | SlotkvError)[]>
  deleteMany(keys: Iterable<Bytes>, options?: ManyOptions): Promise<Delete[]>

  /** How many keys a range has. */
  count(options?: CountOptions): Promise<number>

  /** Begins a scan of a range, to iterate over: in slot order, or `ordered`. */
  scan(options?: ScanOptions): Scan

  /** Every item of a range, in key order. For debugging: they have to fit into memory. */
  dump(options?: DumpOptions): Promise<Item[]>

  /** The slot of a key. */
  slot(key: Bytes): number

  /** Where calls for a key go, and why. */
  explain(key: Bytes): Explain

  /** What this client has done so far, and its state now. */
  stats(): Stats

  /** What a master says of the whole cluster. */
  status(options?: Pick<CallOptions, 'deadlineMs' | 'signal'>): Promise<ClusterStatus>

  /** The same connections, for the keys of another namespace; an empty name is the one without a name. */
  namespace(name: string): Client

  /** The same connections, with another deadline for calls that name none, in milliseconds. */
  withDeadline(deadlineMs: number): Client

  /** The same connections, for calls that are part of a trace: a W3C traceparent travels with each of them. */
  withTraceparent(traceparent: string): Client

  /**
   * The same connections, with another freshness of reads that name none: `session` is not older than what this client has
   * written and read before.
   */
  withReadLevel(level: ReadLevel): Client

  /**
   * The same connections, for reads that may be older by so much, in milliseconds, and are answered by any replica that is
   * fresh enough.
   */
  withStaleness(stalenessMs: number): Client

  /** What the session has seen, as opaque bytes for another process or language. */
  sessionToken(): Buffer

  /**
   * The same connections, for a session that goes on where a token stands: reads are of level `session` and never older than the
   * token or than what this view has written and read. No bytes begin a session that has seen nothing.
   */
  withSessionToken(token: Bytes): Client

  /** Ends the client and whatever shares its connections, in bounded time. Closing again does nothing. */
  close(): Promise<void>

  /** The same as `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** The items of a scan, one by one. After an error the same place can be tried again. */
export class Scan implements AsyncIterableIterator<Item> {
  private constructor()

  next(): Promise<IteratorResult<Item, undefined>>

  /** Ends the scan; its cursor stays. */
  return(): Promise<IteratorResult<Item, undefined>>

  /**
   * Where the scan stands, behind the last item it gave: for another scan of the same range, also in another process or
   * language. null if it gave none and began at the beginning.
   */
  readonly cursor: Buffer | null

  [Symbol.asyncIterator](): this
}

/** How much a log record matters. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace'

/** Something that slotkv has to say. */
export interface LogRecord {
  level: LogLevel
  /** The part that speaks, as `slotkv.connection`. */
  target: string
  message: string
  /** Records that were dropped just before this one, because the callback did not keep up. */
  droppedBefore: number
}

/**
 * Has the logs of this process's clients handed to `callback`, up to `level` (by default `info`); null ends that. One
 * per thread. Without it slotkv says nothing.
 */
export function setLogger(callback: ((record: LogRecord) => void) | null, options?: { level?: LogLevel }): void

/** The version of this package. */
export const version: string

/** The stable upper-case names of errors. */
export type ErrorKind =
  | 'INVALID_ARGUMENT'
  | 'TOO_LARGE'
  | 'UNSUPPORTED'
  | 'DENIED'
  | 'WRONG_CLUSTER'
  | 'NOT_A_NUMBER'
  | 'OVERFLOW'
  | 'MOVED'
  | 'RETRY'
  | 'NOT_PRIMARY'
  | 'READ_ONLY'
  | 'OVERLOADED'
  | 'UNAVAILABLE'
  | 'NO_MASTER'
  | 'SHUTTING_DOWN'
  | 'TIMEOUT'
  | 'CONNECTION_LOST'
  | 'STEPPED_DOWN'
  | 'INDETERMINATE'
  | 'CANCELLED'
  | 'DAMAGED'
  | 'CLOSED'
  | 'FORKED'
  | 'UNEXPECTED'

/** What errors are made of. */
export interface ErrorFields {
  code?: number
  kind?: ErrorKind
  retry?: 'never' | 'reroute' | 'backoff' | 'ask'
  retryable?: boolean
  outcome?: 'failed' | 'unknown'
  member?: string | null
  attempts?: number
  causes?: readonly string[]
  token?: Buffer | null
}

/**
 * The root of slotkv's errors. Each answers three questions: what happened (its class, `code` and `kind`), may I retry
 * (`retry` and `retryable`), and was it applied (`outcome`).
 */
export class SlotkvError extends Error {
  constructor(message?: string, fields?: ErrorFields)
  /** Which kind: its stable number. */
  readonly code: number
  /** The stable upper-case name of the kind. */
  readonly kind: ErrorKind
  /** What can be done: `never` repeat it, `reroute` at once, `backoff` after a pause, or `ask` yourself. */
  readonly retry: 'never' | 'reroute' | 'backoff' | 'ask'
  /** Whether the very same call may simply be repeated: it was not applied, and may succeed later. */
  readonly retryable: boolean
  /** Whether the operation was applied: `failed` if provably not, `unknown` if it may have been. */
  readonly outcome: 'failed' | 'unknown'
  /** host:port of the member that the error came from or that could not be reached, if one was asked. */
  readonly member: string | null
  /** How often the operation was sent, or tried to be. */
  readonly attempts: number
  /** What the layers below said, the nearest first. */
  readonly causes: readonly string[]
  /** Of a write whose outcome is unknown: by it `outcome` of a client tells what came of it. Else null. */
  readonly token: Buffer | null
}

/** The request itself cannot be served; repeating it does not help. */
export class RequestError extends SlotkvError {}

/** An argument is not of the form the operation takes. */
export class InvalidArgumentError extends RequestError {}

/** A key, value, batch or frame is past its limit, which the message names. */
export class TooLargeError extends RequestError {}

/** The other side does not know this operation, version or option. */
export class UnsupportedError extends RequestError {}

/** The credentials do not allow this. */
export class DeniedError extends RequestError {}

/** The member belongs to another cluster. */
export class WrongClusterError extends RequestError {}

/** The value to increment is not a decimal number of 64 bits. */
export class NotANumberError extends RequestError {}

/** The sum does not fit into 64 bits. */
export class NumberOverflowError extends RequestError {}

/** Not applied now, may be later. The client has retried until the deadline. */
export class TemporaryError extends SlotkvError {}

/** The right member for the slot was not found in time: MOVED, RETRY or NOT_PRIMARY. */
export class RoutingError extends TemporaryError {}

/** The shard has too few replicas in sync, or no room on its disk, and takes no writes. */
export class ReadOnlyError extends TemporaryError {}

/** A limit of requests in flight is reached. */
export class OverloadedError extends TemporaryError {}

/** No connection to the member could be made; nothing was sent. */
export class UnavailableError extends TemporaryError {}

/** None of the named members answered with a slot table. */
export class NoMasterError extends TemporaryError {}

/** The member is stopping and takes no new requests. */
export class ShuttingDownError extends TemporaryError {}

/** No answer came. A read may be repeated; whether a write was applied, `outcome` says. */
export class UnansweredError extends SlotkvError {}

/** The deadline passed. */
export class DeadlineError extends UnansweredError {}

/** The connection broke after the request was sent. */
export class ConnectionLostError extends UnansweredError {}

/** The primary stepped down after it had appended the write. */
export class SteppedDownError extends UnansweredError {}

/** The result of an earlier attempt is no longer kept; this attempt was not executed. */
export class IndeterminateError extends UnansweredError {}

/** The call was cancelled from elsewhere. (Giving it up by a signal rejects with the signal's reason.) */
export class CallCancelledError extends UnansweredError {}

/** Stored data failed its checks and is not served. */
export class DamagedError extends SlotkvError {}

/** This client object cannot be used any more. */
export class ClientStateError extends SlotkvError {}

/** The client was closed. */
export class ClosedError extends ClientStateError {}

/** The client was made before a fork; make a new one in the child. */
export class ForkedError extends ClientStateError {}

/** An error that this version does not know; its text says more. */
export class UnexpectedError extends SlotkvError {}

/**
 * Some keys of a call on many failed. Code, kind and the rest are those of the first key that failed, which is the
 * cause; but the outcome is `unknown` if any key's is, and the call is retryable only if every key's error is.
 */
export class ManyError extends SlotkvError {
  constructor(message?: string, fields?: ErrorFields & { results?: readonly unknown[] })
  /** The result of every key, in their order: what the call would have returned, or the key's error. */
  readonly results: readonly unknown[]
  /** The errors by the index of their key. */
  readonly errors: ReadonlyMap<number, SlotkvError>
}

/** Where calls for a key go, and why. */
export interface Explain {
  /** The key's slot among the cluster's slots. */
  slot: number
  /** The same among 16384, as Redis Cluster's CLUSTER KEYSLOT shows it. */
  hashSlot: number
  /** The part of the key that decides, if it has a {tag}. */
  tag: Buffer | null
  /** How many slots the cluster has. */
  slotCount: number
  /** Which cluster. */
  clusterId: string
  /** The slot's owner; null while it is not allocated. */
  shard: number | null
  /** The shard's epoch. */
  epoch: bigint
  /** Version of the slot table that says so. */
  tableVersion: bigint
  /** When the client learned of this table, in milliseconds since 1970 by its own clock. */
  tableLearnedMs: number
  /** Name of the shard's primary. */
  primary: string | null
  /** Its host:port. */
  address: string | null
  /** host:port of the backups. */
  backups: string[]
  /** Whether the connection to the primary is open. */
  connected: boolean
  /** Requests on it that are not answered. */
  inFlight: number
  /** Why the last connection to it failed or broke; empty if none did. */
  lastError: string
}

/** One connection of a client. */
export interface MemberStats {
  /** The shard it serves. */
  shard: number
  /** Its name. */
  name: string
  /** host:port */
  address: string
  /** Whether the connection is open. */
  connected: boolean
  /** Requests sent and not answered. */
  inFlight: number
  /** Calls that wait for the connection or for room on it. */
  waiting: number
  /** Why the last connection failed or broke; empty if none did. */
  lastError: string
}

/** Counts since the client was made, and its state now. */
export interface Stats {
  /** Calls begun. */
  calls: number
  /** Calls that succeeded. */
  callsOk: number
  /** Calls that ended with an error and were provably not applied. */
  callsFailed: number
  /** Calls that ended with an error and may have been applied. */
  callsUnknown: number
  /** Calls that the caller cancelled; they are among those failed or unknown. */
  callsCancelled: number
  /** Times a call was sent again after a pause. */
  retries: number
  /** Times a call was sent elsewhere because a member said so. */
  redirects: number
  /** Connections that were opened. */
  connects: number
  /** Connections that broke. */
  connectionsLost: number
  /** Replies that came after their call had ended. */
  repliesLate: number
  /** Frames sent on streams. */
  framesSent: number
  /** Frames received on streams. */
  framesReceived: number
  /** Slot-table fetches. */
  refreshes: number
  /** Slot-table fetches to which nobody answered. */
  refreshesFailed: number
  /** Rounds of pinging in which no master answered. */
  pingsFailed: number
  /** Answers of members of other clusters, which were ignored. */
  wrongCluster: number
  /** Answers in versions of the protocol that this client does not speak, which were ignored. */
  wrongVersion: number
  /** Calls open now, those that wait for room not counted. */
  inFlight: number
  /** Calls that wait for room now. */
  waiting: number
  /** Version of the slot table. */
  tableVersion: bigint
  /** Sum of the routes' revisions. */
  routeRevisions: number
  /** The members that calls go to, by shard. */
  members: MemberStats[]
}

/** A master. */
export interface MasterStatus {
  /** host:port */
  address: string
  /** Whether it leads. */
  leader: boolean
}

/** A shard. */
export interface ShardStatus {
  /** Its number. */
  shard: number
  /** Its epoch. */
  epoch: bigint
  /** A word or two for people. */
  state: string
  /** Name of its primary; empty if it has none. */
  primary: string
  /** Names of the replicas in sync. */
  isr: string[]
  /** "one" or "all". */
  ack: string
  /** Replicas that must be in sync for writes. */
  minIsr: number
  /** "sync" or "interval(ms)". */
  durability: string
  /** Its weight. */
  weight: number
  /** How many slots it owns. */
  slots: number
  /** How many copies there shall be, the primary's included. */
  replicas: number
  /** Who shall lead when it can; empty: whoever does. */
  preferred: string
  /** Why it is not as it should be, in words for people; empty if it is. */
  reason: string
  /** The last epoch that began although acknowledged writes may have been lost; 0: none did. */
  lossEpoch: bigint
  /** Name/incarnation of the replica that an operator has chosen to go on alone, until it does; else empty. */
  recover: string
  /** Every replica that is in sync, lives or was ever seen. */
  copies: ReplicaStatus[]
}

/** A copy of a shard. */
export interface ReplicaStatus {
  /** Its name. */
  name: string
  /** "leader", "in sync", "catching up", "read-only" and why, "gone" or "left". */
  state: string
  /** Since when, in milliseconds since 1970 by its own clock; 0: not known. */
  sinceMs: number
  /** Whether it is registered now. */
  live: boolean
  /** Whether the shard counts it as in sync, with the data that it has now. */
  inIsr: boolean
  /** host:port */
  address: string
  /** Where it stands. */
  zone: string
  /** What is wrong with its data, in words for people; may be empty. */
  trouble: string
  /** Times that its process has compared its data with that of others, at one record of the log. */
  checks: number
  /** Copies, its own included, that it found to differ while it led. */
  different: number
  /** Slots of its own whose rows were not what was written. */
  rottenSlots: number
  /** Full copies that it has begun to receive. */
  copiesBegun: number
  /** Full copies that have taken the place of its data. */
  copiesInstalled: number
  /** Times that it was begun anew within its process. */
  restarts: number
}

/** A process of the cluster. */
export interface MemberStatus {
  /** Its name. */
  name: string
  /** New at each of its starts. */
  run: string
  /** host:port */
  address: string
  /** The shard it serves. */
  shard: number
  /** Whether it is registered now. */
  live: boolean
  /** Where it stands. */
  zone: string
}

/** What a master says of the whole cluster. */
export interface ClusterStatus {
  /** Which cluster. */
  clusterId: string
  /** How many slots it has. */
  slotCount: number
  /** Version of the slot table. */
  tableVersion: bigint
  /** Epoch of the leading master. */
  masterEpoch: bigint
  /** The masters. */
  masters: MasterStatus[]
  /** The shards. */
  shards: ShardStatus[]
  /** The members. */
  members: MemberStatus[]
  /** Sentences for people. */
  notices: string[]
  /** Shards whose registration the first allocation waits for. */
  shardsAnnounced: number
}

// The client. Its types and their documentation are in index.d.ts.
'use strict'

const { begin } = require('./bridge.js')
const { ENTRY, PLAIN } = require('./batch.js')
const { errorOf } = require('./errors.js')
const { Scan } = require('./scan.js')
const {
  bytes,
  count,
  deadline,
  delta,
  keys,
  optionalBytes,
  options,
  pairs,
  range,
  readLevel,
  text,
  time,
  ttl,
  version,
} = require('./arguments.js')

/** What must hold for a write, as bindings/node/src/arguments.rs numbers it. */
const ALWAYS = 0
const ABSENT = 1
const PRESENT = 2
const VERSION = 3

/** How fresh reads are, as bindings/node/src/arguments.rs numbers it. */
const BOUNDED = 2

/** Whoever has it may make clients. */
const KEY = Symbol('slotkv')

// Before Node had the symbol, its type definitions and compilers used this one.
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')

/** A promise for what `submit` begins, which is given the caller's options. */
function begun(told, submit, shape) {
  if (told === undefined) return begin((call) => submit(NONE, call), undefined, shape, false)
  return new Promise((resolve) => {
    const known = options(told)
    resolve(begin((call) => submit(known, call), known.signal ?? undefined, shape, known.returnErrors === true))
  })
}

const NONE = Object.freeze({})

/** What the addon gives at once: a value or a failure. */
function now(result) {
  if (typeof result === 'object' && result !== null && result.kind !== undefined && result.retry !== undefined) {
    throw errorOf(result)
  }
  return result
}

class Client {
  #client

  constructor(key, client) {
    if (key !== KEY) throw new TypeError('clients are made by connect')
    this.#client = client
  }

  /** The addon's client for a call with these options. A view costs those only who name a traceparent. */
  #told({ traceparent }) {
    return traceparent === undefined ? this.#client : now(this.#client.withTraceparent(text(traceparent, 'traceparent')))
  }

  #within(deadlineMs) {
    return deadlineMs === 0 ? this.#client : now(this.#client.withDeadline(deadlineMs))
  }

  get(key, told) {
    return begun(told, (told, call) => this.#told(told).get(call, bytes(key, 'a key'), deadline(told)))
  }

  getEntry(key, told) {
    return begun(told, (told, call) => this.#told(told).get(call, bytes(key, 'a key'), deadline(told)), ENTRY)
  }

  has(key, told) {
    return begun(told, (told, call) => this.#told(told).has(call, bytes(key, 'a key'), deadline(told)))
  }

  put(key, value, told) {
    return begun(told, (told, call) => this.#told(told).put(call, bytes(key, 'a key'), bytes(value, 'a value'), deadline(told), ttl(told), ALWAYS))
  }

  putIfAbsent(key, value, told) {
    return begun(told, (told, call) => this.#told(told).put(call, bytes(key, 'a key'), bytes(value, 'a value'), deadline(told), ttl(told), ABSENT))
  }

  updateIfPresent(key, value, told) {
    return begun(told, (told, call) => this.#told(told).put(call, bytes(key, 'a key'), bytes(value, 'a value'), deadline(told), ttl(told), PRESENT))
  }

  compareAndSet(key, value, wanted, told) {
    return begun(told, (told, call) => this.#told(told).put(call, bytes(key, 'a key'), bytes(value, 'a value'), deadline(told), ttl(told), VERSION, version(wanted)))
  }

  expire(key, ttlMs, told) {
    return begun(told, (told, call) => this.#told(told).expire(call, bytes(key, 'a key'), deadline(told), time(ttlMs, 'ttlMs')))
  }

  persist(key, told) {
    return begun(told, (told, call) => this.#told(told).expire(call, bytes(key, 'a key'), deadline(told), 0))
  }

  delete(key, told) {
    return begun(told, (told, call) => this.#told(told).delete(call, bytes(key, 'a key'), deadline(told), ALWAYS))
  }

  deleteIfVersion(key, wanted, told) {
    return begun(told, (told, call) => this.#told(told).delete(call, bytes(key, 'a key'), deadline(told), VERSION, version(wanted)))
  }

  increment(key, by = 1n, told) {
    return begun(told, (told, call) => this.#told(told).increment(call, bytes(key, 'a key'), delta(by), deadline(told)))
  }

  outcome(token, told) {
    return begun(told, (told, call) => this.#told(told).outcome(call, bytes(token, 'a token'), deadline(told)))
  }

  getMany(things, told) {
    return begun(told, (told, call) => this.#told(told).getMany(call, keys(things), deadline(told)), PLAIN)
  }

  putMany(things, told) {
    return begun(told, (told, call) => this.#told(told).putMany(call, pairs(things), deadline(told), ttl(told)), PLAIN)
  }

  deleteMany(things, told) {
    return begun(told, (told, call) => this.#told(told).deleteMany(call, keys(things), deadline(told)), PLAIN)
  }

  count(told) {
    return begun(told, (told, call) => this.#told(told).count(call, range(told), deadline(told)))
  }

  scan(told) {
    const known = options(told)
    const limit = known.limit === undefined ? undefined : count(known.limit, 'limit')
    const cursor = optionalBytes(known.cursor, 'cursor')
    return new Scan(now(this.#told(known).scan(range(known), cursor, limit, deadline(known))), known.signal ?? undefined)
  }

  dump(told) {
    return begun(told, (told, call) => this.#told(told).dump(call, range(told), deadline(told)))
  }

  slot(key) {
    return now(this.#client.slot(bytes(key, 'a key')))
  }

  explain(key) {
    return now(this.#client.explain(bytes(key, 'a key')))
  }

  stats() {
    return now(this.#client.stats())
  }

  status(told) {
    return begun(told, (told, call) => this.#within(deadline(told)).status(call))
  }

  namespace(name) {
    return new Client(KEY, now(this.#client.namespace(text(name, 'a namespace'))))
  }

  withDeadline(deadlineMs) {
    return new Client(KEY, now(this.#client.withDeadline(time(deadlineMs, 'deadlineMs'))))
  }

  withTraceparent(traceparent) {
    return new Client(KEY, now(this.#client.withTraceparent(text(traceparent, 'traceparent'))))
  }

  withReadLevel(level) {
    return new Client(KEY, now(this.#client.withReadLevel(readLevel(level), 0)))
  }

  withStaleness(stalenessMs) {
    return new Client(KEY, now(this.#client.withReadLevel(BOUNDED, time(stalenessMs, 'stalenessMs'))))
  }

  sessionToken() {
    return now(this.#client.sessionToken())
  }

  withSessionToken(token) {
    return new Client(KEY, now(this.#client.withSessionToken(bytes(token, 'a token'))))
  }

  close() {
    return begun(undefined, (told, call) => this.#client.close(call))
  }

  [asyncDispose]() {
    return this.close()
  }
}

module.exports = { Client, KEY }

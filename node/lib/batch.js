// What the addon gives per turn, read back: see bindings/node/src/batch.rs, whose records and tags these are.
'use strict'

const { errorOf, manyErrorOf } = require('./errors.js')

const WORDS = 8
const FAILURE = 0
const NONE = 1
const VALUE = 2
const FALSE = 3
const TRUE = 4
const CREATED = 5
const UPDATED = 6
const PUT_UNMET = 7
const DELETED = 8
const NOT_FOUND = 9
const DELETE_UNMET = 10
const NUMBER = 11
const COUNT = 12
const MANY = 13
const ITEMS = 14
const ITEM = 15
const OBJECT = 16
const DONE = 17
const OUTCOME = 18
const ENDING = 19

/** What came of a write, as `WriteStatus` of core/src/outcome.rs counts. */
const STATUSES = ['created', 'updated', 'deleted', 'not_found', 'unmet', 'not_applied', 'forgotten']
const APPLIED = 3

/** How values look: alone, or with their version. */
const PLAIN = 0
const ENTRY = 1

class Batch {
  constructor(objects) {
    const bytes = objects[0]
    this.objects = objects
    this.length = bytes.length / 4
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, this.length)
    this.numbers = new BigUint64Array(bytes.buffer, bytes.byteOffset, this.length / 2)
    this.at = 0
  }

  /** The number of the call whose end is next. */
  get call() {
    return this.words[this.at]
  }

  get isFailure() {
    return this.words[this.at + 1] === FAILURE
  }

  /** The error that is next. */
  failure() {
    const failure = this.objects[this.words[this.at + 2]]
    this.at += WORDS
    return errorOf(failure)
  }

  /** The result that is next, in a shape; errors on many keys are thrown, unless they are asked for. */
  result(shape, returnErrors) {
    const { words, at } = this
    this.at += WORDS
    switch (words[at + 1]) {
      case VALUE:
        if (shape === PLAIN) return this.bytes(at)
        return { value: this.bytes(at), version: this.number(at), ttlMs: null }
      case ENDING: {
        const ttlMs = Number(this.number(this.at))
        this.at += WORDS
        if (shape === PLAIN) return this.bytes(at)
        return { value: this.bytes(at), version: this.number(at), ttlMs }
      }
      case NONE:
        return null
      case FALSE:
        return false
      case TRUE:
        return true
      case CREATED:
        return { status: 'created', version: this.number(at), done: true }
      case UPDATED:
        return { status: 'updated', version: this.number(at), done: true }
      case PUT_UNMET:
      case DELETE_UNMET:
        return { status: 'unmet', version: this.number(at), done: false }
      case DELETED:
        return { status: 'deleted', version: this.number(at), done: true }
      case NOT_FOUND:
        return { status: 'not_found', version: 0n, done: false }
      case NUMBER:
        return BigInt.asIntN(64, this.number(at))
      case COUNT:
        return Number(this.number(at))
      case MANY:
        return this.many(at, shape, returnErrors)
      case ITEMS:
        return Array.from({ length: words[at + 5] }, () => this.result(shape, false))
      case ITEM: {
        const value = this.bytes(this.at)
        const ttlMs = Number(this.number(this.at))
        this.at += WORDS
        return { key: this.bytes(at), value, version: this.number(at), slot: words[at + 5], ttlMs: ttlMs === 0 ? null : ttlMs }
      }
      case OBJECT:
        return this.objects[words[at + 2]]
      case DONE:
        return undefined
      case OUTCOME: {
        const status = words[at + 5]
        return { status: STATUSES[status], version: this.number(at), number: this.result(shape, false), applied: status < APPLIED }
      }
      default:
        throw new Error(`slotkv's addon gave a record of an unknown kind: ${words[at + 1]}`)
    }
  }

  many(at, shape, returnErrors) {
    const results = Array.from({ length: this.words[at + 5] }, () =>
      this.isFailure ? this.failure() : this.result(shape, false),
    )
    const failure = this.words[at + 2]
    if (failure !== 0 && !returnErrors) throw manyErrorOf(this.objects[failure], results)
    return results
  }

  bytes(at) {
    const { words } = this
    const buffer = this.objects[words[at + 2]]
    const offset = words[at + 3]
    const length = words[at + 4]
    if (length === buffer.length) return buffer
    return buffer.subarray(offset, offset + length)
  }

  number(at) {
    return this.numbers[(at + 6) >> 1]
  }
}

module.exports = { Batch, PLAIN, ENTRY }

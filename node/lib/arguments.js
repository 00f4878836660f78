// Arguments as the addon takes them. What has the wrong type is a TypeError, what cannot be a RangeError.
'use strict'

const { isUint8Array } = require('node:util/types')

const U64_MAX = 2n ** 64n - 1n
const I64_MIN = -(2n ** 63n)
const I64_MAX = 2n ** 63n - 1n
const U32_MAX = 2 ** 32 - 1

function shown(value) {
  return value === null ? 'null' : typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value
}

/** A key, a value or other bytes: a string stands for its UTF-8, which half of a surrogate pair does not have. */
function bytes(value, what) {
  if (typeof value === 'string' ? value.isWellFormed() : isUint8Array(value)) return value
  if (typeof value === 'string') throw new TypeError(`${what} has a lone surrogate`)
  throw new TypeError(`${what} is a string or a Uint8Array, not ${shown(value)}`)
}

function optionalBytes(value, what) {
  return value === undefined || value === null ? undefined : bytes(value, what)
}

function text(value, what) {
  if (typeof value === 'string' && value.isWellFormed()) return value
  if (typeof value === 'string') throw new TypeError(`${what} has a lone surrogate`)
  throw new TypeError(`${what} is a string, not ${shown(value)}`)
}

/** A time in milliseconds. */
function time(value, what) {
  if (typeof value !== 'number') throw new TypeError(`${what} is a number of milliseconds, not ${shown(value)}`)
  if (value > 0 && Number.isFinite(value)) return value
  throw new RangeError(`${what} is ${value}; it must be above 0`)
}

function count(value, what, max = Number.MAX_SAFE_INTEGER) {
  if (typeof value !== 'number') throw new TypeError(`${what} is a number, not ${shown(value)}`)
  if (Number.isInteger(value) && value >= 0 && value <= max) return value
  throw new RangeError(`${what} is ${value}; it must be a whole number from 0 to ${max}`)
}

function flag(value, what) {
  if (value === undefined || typeof value === 'boolean') return value
  throw new TypeError(`${what} is a boolean, not ${shown(value)}`)
}

function whole(value, what, min, max) {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`${what} is ${value}; beyond whole numbers up to 2^53 it must be a bigint`)
  }
  if (typeof value !== 'number' && typeof value !== 'bigint') {
    throw new TypeError(`${what} is a bigint or a number, not ${shown(value)}`)
  }
  const number = BigInt(value)
  if (number >= min && number <= max) return number
  throw new RangeError(`${what} is ${value}; it must be from ${min} to ${max}`)
}

/** The version of a key. */
const version = (value) => whole(value, 'a version', 0n, U64_MAX)

/** What to add to a number. */
const delta = (value) => whole(value, 'a delta', I64_MIN, I64_MAX)

const NO_OPTIONS = Object.freeze({})

function options(value) {
  if (value === undefined || value === null) return NO_OPTIONS
  if (typeof value === 'object') return value
  throw new TypeError(`options are an object, not ${shown(value)}`)
}

/** The time of one call; 0 stands for its client's. */
function deadline({ deadlineMs }) {
  return deadlineMs === undefined ? 0 : time(deadlineMs, 'deadlineMs')
}

/** The lifetime of what is stored; 0 stands for one without end. */
function ttl({ ttlMs }) {
  return ttlMs === undefined || ttlMs === null ? 0 : time(ttlMs, 'ttlMs')
}

/** Which keys. */
function range({ prefix, start, end, ordered, keysOnly, pageItems }) {
  return {
    prefix: optionalBytes(prefix, 'prefix'),
    start: optionalBytes(start, 'start'),
    end: optionalBytes(end, 'end'),
    ordered: flag(ordered, 'ordered'),
    keysOnly: flag(keysOnly, 'keysOnly'),
    pageItems: pageItems === undefined ? undefined : count(pageItems, 'pageItems', U32_MAX),
  }
}

const READ_LEVELS = { linearizable: 0, session: 1, stale: 3 }

/** How fresh reads are, as bindings/node/src/arguments.rs numbers it. */
function readLevel(value) {
  const number = Object.hasOwn(READ_LEVELS, text(value, 'a read level')) ? READ_LEVELS[value] : undefined
  if (number !== undefined) return number
  throw new RangeError(`the read level is '${value}'; there are ${Object.keys(READ_LEVELS).join(', ')}`)
}

/** Many keys. */
function keys(things) {
  return Array.from(iterable(things, 'many keys are an iterable of keys'), (key) => bytes(key, 'a key'))
}

/** Many pairs, as keys and values in turn. */
function pairs(things) {
  const flat = []
  for (const pair of iterable(things, 'many pairs are a Map or another iterable of pairs')) {
    if (!Array.isArray(pair) || pair.length !== 2) throw new TypeError('a pair is an array of a key and a value')
    flat.push(bytes(pair[0], 'a key'), bytes(pair[1], 'a value'))
  }
  return flat
}

// A string is iterable, too, and never what was meant.
function iterable(things, what) {
  if (typeof things === 'object' && things !== null && !isUint8Array(things) && Symbol.iterator in things) return things
  throw new TypeError(`${what}, not ${shown(things)}`)
}

module.exports = {
  bytes,
  count,
  deadline,
  delta,
  keys,
  options,
  optionalBytes,
  pairs,
  range,
  readLevel,
  text,
  time,
  ttl,
  version,
}

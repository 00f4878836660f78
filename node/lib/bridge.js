// The bridge of this environment: numbers of calls to promises, and turns.
//
// A turn begins with the addon's wake-up, or with the first call out of nothing, and ends when the microtasks that it
// set off have run. What is submitted in a turn is sent off once, at its end.
'use strict'

const { native } = require('./native.js')
const { Batch, PLAIN } = require('./batch.js')
const { errorOf } = require('./errors.js')
const { deliverLogs } = require('./logs.js')

/** So many rounds of microtasks without a new call end a turn: a caller behind as many awaits is still waited for. */
const QUIET_ROUNDS = 4
/** `ring` is to be called at the end of the turn. */
const RING = 1

/** Calls under way, by their numbers. */
const calls = []
/** Numbers that are free. */
const free = []
let submissions = 0
let isTurn = false

const bridge = new native.Bridge(takeTurn)

/** A call under way. */
class Call {
  constructor(shape, returnErrors, resolve, reject) {
    this.shape = shape
    this.returnErrors = returnErrors
    this.resolve = resolve
    this.reject = reject
    this.watch = undefined
  }
}

/** What is given up by a signal: one listener for any number of calls, as Node warns of many. */
class Watch {
  static #watches = new WeakMap()

  static of(signal) {
    let watch = Watch.#watches.get(signal)
    if (watch === undefined) {
      watch = new Watch(signal)
      Watch.#watches.set(signal, watch)
    }
    return watch
  }

  constructor(signal) {
    this.signal = signal
    /** Numbers of calls. */
    this.numbers = new Set()
    this.abort = () => {
      for (const number of [...this.numbers]) {
        const call = calls[number]
        if (!bridge.cancel(number)) continue
        release(number)
        call.reject(signal.reason)
      }
    }
  }

  add(number) {
    if (this.numbers.size === 0) this.signal.addEventListener('abort', this.abort)
    this.numbers.add(number)
  }

  remove(number) {
    this.numbers.delete(number)
    if (this.numbers.size === 0) this.signal.removeEventListener('abort', this.abort)
  }
}

function release(number) {
  calls[number].watch?.remove(number)
  calls[number] = undefined
  free.push(number)
}

/**
 * A promise for what `submit`, which is given the call's number, begins.
 * @param signal gives it up
 * @param shape how values look
 * @param returnErrors whether errors stand among the results for many keys
 */
function begin(submit, signal, shape = PLAIN, returnErrors = false) {
  return new Promise((resolve, reject) => {
    if (signal !== undefined) checkSignal(signal)
    const number = free.length > 0 ? free.pop() : calls.push(undefined) - 1
    let begun
    try {
      begun = submit(number)
    } catch (error) {
      free.push(number)
      throw error
    }
    if (typeof begun === 'object') {
      free.push(number)
      reject(errorOf(begun))
      return
    }
    const call = new Call(shape, returnErrors, resolve, reject)
    calls[number] = call
    if (signal !== undefined) {
      call.watch = Watch.of(signal)
      call.watch.add(number)
    }
    submissions += 1
    if (begun === RING) endTurnLater()
  })
}

/** By what it can do: realms, as those that test runners make, have an AbortSignal each. */
function checkSignal(signal) {
  if (typeof signal !== 'object' || typeof signal.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw new TypeError('signal is an AbortSignal')
  }
  if (signal.aborted) throw signal.reason
}

/** Called by the addon, once per batch. */
function takeTurn() {
  const batch = new Batch(bridge.drain())
  while (batch.at < batch.length) {
    const { call: number } = batch
    const call = calls[number]
    release(number)
    if (batch.isFailure) {
      call.reject(batch.failure())
      continue
    }
    try {
      call.resolve(batch.result(call.shape, call.returnErrors))
    } catch (error) {
      call.reject(error)
    }
  }
  endTurnLater()
  deliverLogs(bridge)
}

function endTurnLater() {
  if (isTurn) return
  isTurn = true
  let seen = submissions
  let quiet = 0
  const round = () => {
    quiet = submissions === seen ? quiet + 1 : 0
    seen = submissions
    if (quiet < QUIET_ROUNDS) {
      queueMicrotask(round)
      return
    }
    isTurn = false
    bridge.ring()
  }
  queueMicrotask(round)
}

module.exports = { begin, bridge }

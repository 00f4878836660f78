// Scans: items one by one, fetched page by page.
'use strict'

const { begin } = require('./bridge.js')
const { errorOf } = require('./errors.js')

const END = 0
const FETCH = 1

class Scan {
  #scan
  #signal
  /** The page under way. */
  #fetching
  #isOver = false

  constructor(scan, signal) {
    this.#scan = scan
    this.#signal = signal
  }

  next() {
    if (this.#fetching !== undefined) {
      // One after another, as a generator does it.
      const next = () => this.next()
      return this.#fetching.then(next, next)
    }
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined })
    if (this.#signal?.aborted) return Promise.reject(this.#signal.reason)
    const here = this.#scan.take()
    if (here === END) return Promise.resolve({ done: true, value: undefined })
    if (here === FETCH) return this.#fetch()
    if (here.kind !== undefined) return Promise.reject(errorOf(here))
    return Promise.resolve({ done: false, value: here })
  }

  #fetch() {
    const fetching = begin((number) => this.#scan.fetch(number), this.#signal).then(
      (item) => (item === null ? { done: true, value: undefined } : { done: false, value: item }),
    )
    const ended = () => {
      this.#fetching = undefined
    }
    this.#fetching = fetching.then(ended, ended)
    return fetching
  }

  return(value) {
    this.#isOver = true
    return Promise.resolve({ done: true, value })
  }

  get cursor() {
    const cursor = this.#scan.cursor()
    if (cursor?.kind !== undefined) throw errorOf(cursor)
    return cursor
  }

  [Symbol.asyncIterator]() {
    return this
  }
}

module.exports = { Scan }

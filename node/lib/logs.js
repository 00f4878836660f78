// Logs on their way to a function.
'use strict'

const LEVELS = { error: 1, warn: 2, info: 3, debug: 4, trace: 5 }

let logger

/** Has slotkv's logs of this thread's process handed to `callback`; null ends that. See the types. */
function setLogger(callback, { level = 'info' } = {}) {
  if (callback !== null && typeof callback !== 'function') throw new TypeError('a logger is a function or null')
  if (!Object.hasOwn(LEVELS, level)) throw new TypeError(`${level} is no level of logs: ${Object.keys(LEVELS)}`)
  const { bridge } = require('./bridge.js')
  const { errorOf } = require('./errors.js')
  const failure = bridge.setLogLevel(callback === null ? undefined : LEVELS[level])
  if (failure) throw errorOf(failure)
  logger = callback ?? undefined
}

/** Hands over what waits. */
function deliverLogs(bridge) {
  if (logger === undefined) return
  for (const record of bridge.takeLogs()) {
    try {
      logger?.(record)
    } catch (error) {
      // As an exception of any other callback that nobody waits for; the other records still arrive.
      queueMicrotask(() => {
        throw error
      })
    }
  }
}

module.exports = { setLogger, deliverLogs }

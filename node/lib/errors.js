// Why a call did not succeed. Every error answers three questions: what happened (its class, `code` and `kind`), may I
// retry (`retry` and `retryable`), and was it applied (`outcome`).
'use strict'

class SlotkvError extends Error {
  constructor(message = '', fields = {}) {
    const { member = null, attempts = 0, causes = [], token = null } = fields
    const { code, kind, retry, retryable, outcome } = { ...new.target.defaults, ...fields }
    const where = member === null ? '' : ` (member ${member}, attempt ${attempts})`
    super([`${kind}: ${message}${where}`, ...causes].join(': '))
    this.code = code
    this.kind = kind
    this.retry = retry
    this.retryable = retryable
    this.outcome = outcome
    this.member = member
    this.attempts = attempts
    this.causes = causes
    this.token = token
  }
}
// On the prototypes, as the built-in errors have it.
const named = (errorClass, name) =>
  Object.defineProperty(errorClass.prototype, 'name', { value: name, configurable: true, writable: true })
named(SlotkvError, 'SlotkvError')
SlotkvError.defaults = { code: 50, kind: 'UNEXPECTED', retry: 'ask', retryable: false, outcome: 'unknown' }

const classes = { SlotkvError }
const byCode = new Map()

/** Declares a class; `codes` are those whose errors are its instances. */
function define(name, parent, defaults, ...codes) {
  const made = { [name]: class extends parent {} }[name]
  made.defaults = { ...parent.defaults, ...defaults }
  named(made, name)
  classes[name] = made
  for (const code of codes) byCode.set(code, made)
  return made
}

const RequestError = define('RequestError', SlotkvError, { retry: 'never', outcome: 'failed' })
define('InvalidArgumentError', RequestError, { code: 1, kind: 'INVALID_ARGUMENT' }, 1)
define('TooLargeError', RequestError, { code: 2, kind: 'TOO_LARGE' }, 2)
define('UnsupportedError', RequestError, { code: 3, kind: 'UNSUPPORTED' }, 3)
define('DeniedError', RequestError, { code: 4, kind: 'DENIED' }, 4)
define('WrongClusterError', RequestError, { code: 5, kind: 'WRONG_CLUSTER' }, 5)
define('NotANumberError', RequestError, { code: 6, kind: 'NOT_A_NUMBER' }, 6)
define('NumberOverflowError', RequestError, { code: 7, kind: 'OVERFLOW' }, 7)

const TemporaryError = define('TemporaryError', SlotkvError, { retry: 'backoff', retryable: true, outcome: 'failed' })
define('RoutingError', TemporaryError, { code: 11, kind: 'RETRY' }, 10, 11, 12)
define('ReadOnlyError', TemporaryError, { code: 13, kind: 'READ_ONLY' }, 13)
define('OverloadedError', TemporaryError, { code: 14, kind: 'OVERLOADED' }, 14)
define('UnavailableError', TemporaryError, { code: 15, kind: 'UNAVAILABLE' }, 15)
define('NoMasterError', TemporaryError, { code: 16, kind: 'NO_MASTER' }, 16)
define('ShuttingDownError', TemporaryError, { code: 17, kind: 'SHUTTING_DOWN' }, 17)

const UnansweredError = define('UnansweredError', SlotkvError, {})
define('DeadlineError', UnansweredError, { code: 20, kind: 'TIMEOUT' }, 20)
define('ConnectionLostError', UnansweredError, { code: 21, kind: 'CONNECTION_LOST' }, 21)
define('SteppedDownError', UnansweredError, { code: 22, kind: 'STEPPED_DOWN' }, 22)
define('IndeterminateError', UnansweredError, { code: 23, kind: 'INDETERMINATE' }, 23)
define('CallCancelledError', UnansweredError, { code: 24, kind: 'CANCELLED' }, 24)

define('DamagedError', SlotkvError, { code: 30, kind: 'DAMAGED', retry: 'never' }, 30)

const ClientStateError = define('ClientStateError', SlotkvError, { retry: 'never', outcome: 'failed' })
define('ClosedError', ClientStateError, { code: 40, kind: 'CLOSED' }, 40)
define('ForkedError', ClientStateError, { code: 41, kind: 'FORKED' }, 41)

define('UnexpectedError', SlotkvError, {}, 50)

/** Some keys of a call on many failed; its other fields are the first error's, see the types. */
class ManyError extends SlotkvError {
  constructor(message = '', fields = {}) {
    super(message, fields)
    this.results = fields.results ?? []
  }

  get errors() {
    const entries = this.results.map((result, index) => [index, result])
    return new Map(entries.filter(([, result]) => result instanceof SlotkvError))
  }
}
ManyError.defaults = SlotkvError.defaults
named(ManyError, 'ManyError')
classes.ManyError = ManyError

/** The error that the addon describes; a code of a newer version is unexpected. */
function errorOf(failure) {
  const Class = byCode.get(failure.code) ?? classes.UnexpectedError
  return new Class(failure.message, failure)
}

/** The error of a call on many keys. */
function manyErrorOf(failure, results) {
  const error = new ManyError(failure.message, { ...failure, results })
  const cause = results.find((result) => result instanceof SlotkvError)
  Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true })
  return error
}

module.exports = { classes, SlotkvError, errorOf, manyErrorOf }

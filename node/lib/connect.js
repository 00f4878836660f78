// How clients are made.
'use strict'

const { begin, bridge } = require('./bridge.js')
const { Client, KEY } = require('./client.js')
const { count, options, text, time } = require('./arguments.js')

const OPTIONS = {
  namespace: text,
  deadlineMs: time,
  connectTimeoutMs: time,
  pingIntervalMs: time,
  inflightMax: count,
  streamsPerMember: count,
  clientName: text,
}

async function connect(uri, told) {
  const { signal, ...rest } = options(told)
  const settings = {}
  for (const [name, value] of Object.entries(rest)) {
    if (!Object.hasOwn(OPTIONS, name)) throw new TypeError(`connect has no option ${name}`)
    if (value !== undefined) settings[name] = OPTIONS[name](value, name)
  }
  text(uri, 'uri')
  return new Client(KEY, await begin((call) => bridge.connect(call, uri, settings), signal ?? undefined))
}

module.exports = { connect }

'use strict'

const { connect } = require('./lib/connect.js')
const { Client } = require('./lib/client.js')
const { Scan } = require('./lib/scan.js')
const { setLogger } = require('./lib/logs.js')
const { native } = require('./lib/native.js')
const errors = require('./lib/errors.js')

module.exports = {
  connect,
  setLogger,
  Client,
  Scan,
  version: native.version(),
  ...errors.classes,
}

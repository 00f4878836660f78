// The addon: of a build of this tree if there is one, else of the package for this platform.
'use strict'

const { existsSync } = require('node:fs')
const { join } = require('node:path')
const { platform } = require('./platform.js')
const { version } = require('../package.json')

function load() {
  const name = platform()
  const built = join(__dirname, '..', `slotkv.${name}.node`)
  if (existsSync(built)) return require(built)
  try {
    return require(`slotkv-${name}`)
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
    throw new Error(
      `slotkv has no addon for ${name}: the package slotkv-${name} is not installed. ` +
        'It is an optional dependency of slotkv; npm leaves it out with --omit=optional.',
      { cause: error },
    )
  }
}

const native = load()
if (native.version() !== version) {
  throw new Error(`slotkv is ${version} and its addon ${native.version()}; install both in the same version`)
}

module.exports = { native }

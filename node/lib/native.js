// The addon: of a build of this tree if there is one, else of the package for this platform.
'use strict'

const { existsSync } = require('node:fs')
const { join } = require('node:path')
const { candidates } = require('./platform.js')
const { version } = require('../package.json')

function load() {
  const names = candidates()
  const built = names.map((name) => join(__dirname, '..', `slotkv.${name}.node`)).find(existsSync)
  if (built !== undefined) return require(built)
  let cause
  for (const name of names) {
    try {
      return require(`slotkv-${name}`)
    } catch (error) {
      // One that is there and does not load says more than one that is not there.
      if (cause === undefined || error.code !== 'MODULE_NOT_FOUND') cause = error
    }
  }
  const packages = names.map((name) => `slotkv-${name}`).join(' nor ')
  throw new Error(
    `slotkv has no addon for this platform: ${packages} can be loaded. ` +
      'They are optional dependencies of slotkv; npm leaves them out with --omit=optional.',
    { cause },
  )
}

const native = load()
if (native.version() !== version) {
  throw new Error(`slotkv is ${version} and its addon ${native.version()}; install both in the same version`)
}

module.exports = { native }

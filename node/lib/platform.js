// Which addons this process may be able to load.
'use strict'

/**
 * The ends of the names of their packages, as "linux-x64-gnu". Of those for Linux npm installs the one for the C library
 * that is there; asking Node for it takes longer than everything else that loading this package does.
 */
function candidates() {
  const { platform, arch } = process
  const name = `${platform}-${arch}`
  return platform === 'linux' ? [`${name}-gnu`, `${name}-musl`] : [name]
}

/** The one for this process. */
function platform() {
  const [first, second] = candidates()
  if (second === undefined) return first
  const { glibcVersionRuntime } = process.report.getReport().header
  return glibcVersionRuntime === undefined ? second : first
}

module.exports = { candidates, platform }

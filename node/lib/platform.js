// Which addon this process can load.
'use strict'

/** As "linux-x64-gnu": the end of the name of its package. */
function platform() {
  const { platform, arch } = process
  if (platform !== 'linux') return `${platform}-${arch}`
  const { glibcVersionRuntime } = process.report.getReport().header
  return `${platform}-${arch}-${glibcVersionRuntime === undefined ? 'musl' : 'gnu'}`
}

module.exports = { platform }

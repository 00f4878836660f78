// The packages as they are published, in an empty project.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createRequire } from 'node:module'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { startCluster } from './cluster.mjs'

const run = promisify(execFile)
const { platform } = createRequire(import.meta.url)('../lib/platform.js')
const cluster = await startCluster()
const folder = mkdtempSync(join(tmpdir(), 'slotkv-pack-'))
after(() => rmSync(folder, { recursive: true }))

/** Processes that import the package for each median, and what importing it may cost, by CPU time. */
const STARTS = 20
const IMPORT_MS_MAX = 60

const IMPORT = (statement) => `
  const began = performance.now()
  const before = process.cpuUsage()
  ${statement}
  const { user, system } = process.cpuUsage(before)
  console.log(JSON.stringify({ wall: performance.now() - began, cpu: (user + system) / 1000 }))
`

const USE = `
  const client = await connect(process.argv[2])
  await client.put('packed', 'yes')
  console.log(String(await client.get('packed')))
`

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]
}

test('the packed packages work in an empty project, as both kinds of modules', async (t) => {
  const root = fileURLToPath(new URL('..', import.meta.url))
  await run(process.execPath, [join(root, 'scripts/pack.mjs'), folder], { cwd: root })
  const packed = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  assert.equal(packed.length, 2, `${packed}`)
  assert.ok(packed.some((name) => name.startsWith(`slotkv-${platform()}-`)), `${packed}`)

  const project = mkdtempSync(join(folder, 'project-'))
  writeFileSync(join(project, 'package.json'), '{ "private": true }')
  // Offline: the packages of the other platforms are optional, and this one is here.
  const install = ['install', '--offline', '--no-audit', '--no-fund', ...packed.map((name) => join(folder, name))]
  await run('npm', install, { cwd: project })
  const installed = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'))
  assert.deepEqual(installed.sort(), ['slotkv', `slotkv-${platform()}`])
  const files = readdirSync(join(project, 'node_modules/slotkv')).sort()
  assert.deepEqual(files, ['LICENSE', 'README.md', 'index.d.mts', 'index.d.ts', 'index.js', 'index.mjs', 'lib', 'package.json'])

  writeFileSync(join(project, 'use.mjs'), `import { connect } from 'slotkv'\n${USE}`)
  writeFileSync(join(project, 'use.cjs'), `const { connect } = require('slotkv')\nasync function main() {${USE}}\nmain()`)
  for (const script of ['use.mjs', 'use.cjs']) {
    const { stdout, stderr } = await run(process.execPath, [script, cluster.uri], { cwd: project })
    assert.deepEqual([stdout, stderr], ['yes\n', ''], script)
  }

  writeFileSync(join(project, 'import.mjs'), IMPORT("await import('slotkv')"))
  writeFileSync(join(project, 'import.cjs'), IMPORT("require('slotkv')"))
  for (const script of ['import.mjs', 'import.cjs']) {
    const costs = []
    for (let start = 0; start < STARTS; start += 1) {
      costs.push(JSON.parse((await run(process.execPath, [script], { cwd: project })).stdout))
    }
    const [wall, cpu] = ['wall', 'cpu'].map((kind) => median(costs.map((cost) => cost[kind])))
    t.diagnostic(`${script}: ${wall.toFixed(1)} ms, ${cpu.toFixed(1)} ms of CPU`)
    assert.ok(cpu < IMPORT_MS_MAX, `${script} takes ${cpu} ms of CPU`)
  }

  // Without the package for the platform, as after --omit=optional, the error says what is missing.
  rmSync(join(project, `node_modules/slotkv-${platform()}`), { recursive: true })
  const error = await run(process.execPath, ['use.cjs', cluster.uri], { cwd: project }).catch((error) => error)
  assert.match(error.stderr, new RegExp(`no addon for this platform: slotkv-${platform()}`))
})

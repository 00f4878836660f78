// What many calls leave behind: nothing. SLOTKV_TEST_LONG makes them ten million.

import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { isAbsolute } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { startCluster } from './cluster.mjs'

const CALLS = process.env.SLOTKV_TEST_LONG ? 10_000_000 : 300_000
/** Calls under the sanitizer, which looks at every allocation's stack. */
const SANITIZED_CALLS = 5_000
/** What may be held more after the last third of the calls than before it, for caches and the engine's own moods. */
const HEAP_GROWTH_MAX = 1 << 20
const RSS_GROWTH_MAX = 24 << 20

const cluster = await startCluster()

const program = fileURLToPath(new URL('leaks.mjs', import.meta.url))

test(`${CALLS} calls of every kind leave nothing behind`, async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program, cluster.uri, `${CALLS}`])
  const told = stdout.trim().split('\n').map((line) => JSON.parse(line))
  t.diagnostic(stdout)
  assert.equal(told.length, 3)
  const [, before, after] = told
  assert.ok(after.calls - before.calls >= CALLS / 4)
  const growth = (name) => after[name] - before[name]
  for (const name of ['heapUsed', 'external', 'arrayBuffers']) {
    assert.ok(growth(name) < HEAP_GROWTH_MAX, `${name} grew by ${growth(name)} bytes`)
  }
  assert.ok(growth('rss') < RSS_GROWTH_MAX, `rss grew by ${growth('rss')} bytes`)
  for (const name of ['threads', 'descriptors']) assert.ok(growth(name) <= 2, `${growth(name)} more ${name}`)
})

/** gcc's sanitizer of leaks, which any program can be started with; undefined if there is none. */
function sanitizer() {
  const asked = spawnSync('gcc', ['-print-file-name=liblsan.so'], { encoding: 'utf8' })
  const path = asked.stdout?.trim()
  // Without its folder if there is none.
  return path !== undefined && isAbsolute(path) ? path : undefined
}

test('the sanitizer finds no allocation of ours that nobody knows, and one that was lost on purpose', async (t) => {
  const library = sanitizer()
  if (library === undefined) return t.skip('gcc has no liblsan')
  const options = 'fast_unwind_on_malloc=0:malloc_context_size=40'
  for (const planted of [false, true]) {
    const told = ['--expose-gc', program, cluster.uri, `${SANITIZED_CALLS}`, ...(planted ? ['plant'] : [])]
    const ended = promisify(execFile)(process.execPath, told, {
      env: { ...process.env, LD_PRELOAD: library, LSAN_OPTIONS: options },
      maxBuffer: 1 << 28,
    })
    // What Node itself loses makes its status a failure.
    const { stdout, stderr } = await ended.catch((error) => error)
    assert.equal(stdout.trim().split('\n').length, 3, stderr)
    const leaks = stderr.match(/^(?:Direct|Indirect) leak of (?:.+\n)+/gm) ?? []
    const ours = leaks.filter((leak) => /slotkv|tokio|\/rustc\//.test(leak))
    assert.equal(ours.length > 0, planted, ours.join('\n'))
  }
})

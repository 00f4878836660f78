// The Node host: `node harmless.mjs PACKAGE URI`, with the package's folder.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'

const [folder, uri] = process.argv.slice(2)

/** What a process has that a package could change. */
function state() {
  const status = readFileSync('/proc/self/status', 'utf8').split('\n')
  return {
    masks: status.filter((line) => /^Sig(Blk|Ign|Cgt):/.test(line)),
    listeners: Object.fromEntries(process.eventNames().map((name) => [name, process.listenerCount(name)])),
    environment: { ...process.env },
    folder: process.cwd(),
    umask: process.umask(),
    globals: Object.getOwnPropertyNames(globalThis),
    console: Object.values(console),
  }
}

/** No descriptor may be of a file on a disk that can be written. */
function expectNoFiles() {
  for (const number of readdirSync('/proc/self/fd').map(Number)) {
    let flags
    try {
      if (number <= 2 || !statSync(`/proc/self/fd/${number}`).isFile()) continue
      flags = parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${number}`, 'utf8'))[1], 8)
    } catch {
      // Of the directory that is read here, which is closed by now.
      continue
    }
    assert.equal(flags & 3, 0, readlinkSync(`/proc/self/fd/${number}`))
  }
}

// What Node makes when it is first looked at is Node's own.
void process.stdout
void process.stderr
const before = state()
const load = createRequire(import.meta.url)
const { connect, ClosedError, InvalidArgumentError, NoMasterError, UnexpectedError } = load(folder)
const { begin, bridge } = load(`${folder}/lib/bridge.js`)
const client = await connect(uri)
assert((await client.put('harmless', 'value')).done)
assert.equal(String(await client.get('harmless')), 'value')
const abort = new AbortController()
const cancelled = client.get('harmless', { signal: abort.signal })
abort.abort()
await cancelled.catch((error) => assert.equal(error, abort.signal.reason))
await assert.rejects(client.get(''), InvalidArgumentError)
for (const inRuntime of [false, true]) await assert.rejects(begin((call) => bridge.panic(call, inRuntime)), UnexpectedError)
expectNoFiles()
await client.close()
await assert.rejects(client.get('harmless'), ClosedError)
await assert.rejects(connect('slotkv://127.0.0.1:1', { connectTimeoutMs: 200 }), NoMasterError)
assert.deepEqual(state(), before)

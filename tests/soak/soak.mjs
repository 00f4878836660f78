// The Node client of the soak: `node --expose-gc soak.mjs PACKAGE URI`, with the package's folder. `README.md` here says
// what a round is.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const [folder, uri] = process.argv.slice(2)
const { connect, SlotkvError, TooLargeError } = createRequire(import.meta.url)(folder)

/** Longest time that a worker may be away. */
const PATIENCE_MS = 100_000
/** The keys of each call on many. */
const KEYS = Array.from({ length: 8 }, (_, number) => `key${number}`)

async function round(client, number) {
  const value = Buffer.alloc(1 + ((number * 97) % 5000), number % 256)
  const [put, count] = await Promise.all([client.put('value', value), client.increment('counter')])
  assert.equal(count, BigInt(number), 'each addition once')
  assert(put.done && value.equals(await client.get('value')))
  const later = await client.compareAndSet('value', String(number), put.version)
  assert(later.done && later.version > put.version)
  const puts = await client.putMany(KEYS.map((key) => [key, String(number)]))
  assert(puts.every(({ done }) => done))
  assert((await client.getMany(KEYS)).every((found) => String(found) === String(number)))
  assert((await client.delete('value')).done)
  assert(!(await client.has('value')))
  if (number % 4 === 0) await seldom(client)
}

/** Scans that go on, and calls that do not succeed. */
async function seldom(client) {
  const scan = client.scan({ prefix: 'key', ordered: true })
  for (let taken = 0; taken < 3; taken += 1) await scan.next()
  let left = 0
  for await (const _ of client.scan({ prefix: 'key', ordered: true, cursor: scan.cursor })) left += 1
  assert.equal(left, KEYS.length - 3)
  assert.equal(await client.count({ prefix: 'key' }), KEYS.length)
  await assert.rejects(client.put('k'.repeat(40_000), ''), TooLargeError)
  await client.get('counter', { deadlineMs: 1 }).catch((error) => assert(error instanceof SlotkvError))
  const abort = new AbortController()
  const cancelled = client.get('counter', { signal: abort.signal })
  abort.abort()
  await cancelled.catch((error) => assert.equal(error, abort.signal.reason))
  // What the engine frees when it likes is no leak.
  globalThis.gc()
}

const client = await connect(uri, { namespace: 'soak-node', deadlineMs: PATIENCE_MS })
let number = 0
for await (const _ of createInterface({ input: process.stdin })) {
  await round(client, (number += 1))
  process.stdout.write('done\n')
}
await client.close()

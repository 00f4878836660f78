// node examples/node/scan.mjs [URI]
//
// Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor.

import assert from 'node:assert/strict'

import { connect } from 'slotkv'

const client = await connect(process.argv[2] ?? 'slotkv://127.0.0.1:7700', { namespace: 'example-scan' })
const numbered = (name, count) =>
  Array.from({ length: count }, (_, number) => `${name}/${String(number).padStart(4, '0')}`)
const people = numbered('people', 500)
const places = numbered('places', 100)
await client.putMany([...people, ...places].map((key) => [key, key]))

/** The keys of a scan. */
async function keysOf(scan) {
  const keys = []
  for await (const { key } of scan) keys.push(String(key))
  return keys
}

assert.equal(await client.count({ prefix: 'people/' }), 500)
const scan = client.scan({ prefix: 'people/', limit: 200 })
const found = await keysOf(scan)
found.push(...(await keysOf(client.scan({ prefix: 'people/', cursor: scan.cursor }))))
assert.deepEqual([...found].sort(), people)

const range = { start: 'people/0490', end: 'places/0010' }
const keys = await keysOf(client.scan({ ...range, ordered: true, keysOnly: true }))
assert.deepEqual(keys, [...people.slice(490), ...places.slice(0, 10)])

await client.deleteMany([...people, ...places])
await client.close()
console.log(`scan: ${found.length} keys in two parts, ${keys.length} in key order`)

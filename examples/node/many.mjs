// node examples/node/many.mjs [URI]
//
// Thousands of keys at once: in one call, or in many calls at the same time.

import assert from 'node:assert/strict'

import { connect } from 'slotkv'

const client = await connect(process.argv[2] ?? 'slotkv://127.0.0.1:7700', { namespace: 'example-many' })
const records = new Map(Array.from({ length: 10_000 }, (_, number) => [`user:${number}`, `value ${number}`]))
await client.deleteMany(records.keys())

const puts = await client.putMany(records)
assert.ok(puts.every(({ status }) => status === 'created'))
const found = await client.getMany(records.keys())
assert.deepEqual(found.map(String), [...records.values()])

// The same from calls for one key each: what waits together is sent together.
const values = await Promise.all([...records.keys()].map((key) => client.get(key)))
assert.deepEqual(values, found)

await client.deleteMany(records.keys())
await client.close()
console.log(`many: ${records.size} keys written, read and deleted`)

// node examples/node/compare_and_set.mjs [URI]
//
// Changing a value that others change at the same time: read it with its version, write it back only if the version
// still stands. An unmet condition is a result, not an exception.

import assert from 'node:assert/strict'

import { connect } from 'slotkv'

const OTHERS = 8
const STEPS = 50

const client = await connect(process.argv[2] ?? 'slotkv://127.0.0.1:7700', { namespace: 'example-cas' })

/** Adds 1 so many times; how often somebody else was faster. */
async function addOften() {
  let repeated = 0
  for (let step = 0; step < STEPS; step += 1) {
    for (;;) {
      const { value, version } = await client.getEntry('sum')
      const put = await client.compareAndSet('sum', String(Number(value) + 1), version)
      if (put.done) break
      repeated += 1
    }
  }
  return repeated
}

await client.put('sum', '0')
const all = await Promise.all(Array.from({ length: OTHERS }, addOften))
const repeated = all.reduce((sum, count) => sum + count)
assert.equal(String(await client.get('sum')), String(OTHERS * STEPS))
await client.delete('sum')

// For a plain counter there is a shorter way. Numbers have 64 bits.
assert.equal(await client.increment('counter', 41), 41n)
assert.equal(await client.increment('counter'), 42n)
await client.delete('counter')

await client.close()
console.log(`compare_and_set: ${OTHERS * STEPS} additions, ${repeated} repeated`)

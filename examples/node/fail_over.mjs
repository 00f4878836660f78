// node examples/node/fail_over.mjs URI
//
// What callers meet while a worker is down. Each adds to a counter of its own; the counters are spread over every shard.
// The example asks you to crash a worker (`kill -9`) and to start it again on its data. Those on the other shards go on,
// those of the crashed one wait; each addition happens exactly once.

import assert from 'node:assert/strict'

import { connect, SlotkvError } from 'slotkv'

/** Spread over the slots, so that every shard has some. */
const KEYS = Array.from({ length: 64 }, (_, number) => `counter/${number}`)
/** Additions to each counter after the interruption was seen. */
const ADDITIONS_AFTER = 20
/** Longest time that one addition may take, and so that the worker may be away, in milliseconds. */
const PATIENCE_MS = 60_000

const client = await connect(process.argv[2], { namespace: 'example-fail-over', deadlineMs: PATIENCE_MS })

/** Adds 1; the sum as it is known to be. */
async function add(key, acknowledged) {
  let total
  try {
    total = await client.increment(key)
  } catch (error) {
    if (!(error instanceof SlotkvError) || error.outcome !== 'unknown') throw error
    // The one case in which a caller has to look: the addition may have been applied or not.
    return BigInt(String((await client.get(key)) ?? 0))
  }
  assert.equal(total, acknowledged + 1n, `${key}: an addition was lost or done twice`)
  return total
}

/** Adds until the interruption is over; the sum, and the longest addition in milliseconds. */
async function count(key) {
  let [total, longest, left] = [0n, 0, ADDITIONS_AFTER]
  while (left > 0) {
    const start = performance.now()
    total = await add(key, total)
    longest = Math.max(longest, performance.now() - start)
    if (client.stats().connectionsLost > 0) left -= 1
  }
  return { total, longest }
}

await client.deleteMany(KEYS)
const counting = Promise.all(KEYS.map(count))
console.log('crash a worker now (kill -9) and start it again')
const counted = await counting

const totals = counted.map(({ total }) => total)
assert.deepEqual((await client.getMany(KEYS)).map(String), totals.map(String))
const { retries, connectionsLost } = client.stats()
await client.deleteMany(KEYS)
await client.close()

const longest = Math.max(...counted.map(({ longest }) => longest))
console.log(
  `ok: ${totals.reduce((sum, total) => sum + total)} additions, each exactly once; longest ${longest.toFixed(0)} ms, ` +
    `${retries} sent again, ${connectionsLost} connections lost`,
)

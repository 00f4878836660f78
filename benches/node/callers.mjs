// Callers that put a key each, again and again, and write down when; the Rust twin is benches/src/bin/callers.rs.
//
//     node benches/node/callers.mjs slotkv|ioredis URI|PORTS CALLERS INTERVAL_MS FILE
//
// FILE gets a line for each call: number of the caller, begin and end in microseconds of CLOCK_MONOTONIC, `ok` or the
// error. Ends with stdin.

import { appendFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const FLUSH_EVERY_MS = 50
const VALUE_BYTES = 100
/** A call to a stopped server would wait for ever otherwise. */
const PEER_TIMEOUT_MS = 1000

const open = {
  async slotkv(uri) {
    const { connect } = await import('slotkv')
    const client = await connect(uri)
    return (key, value) => client.put(key, value)
  },
  async ioredis(ports) {
    const { Redis } = await import('ioredis')
    const nodes = ports.split(',').map((port) => ({ host: '127.0.0.1', port: Number(port) }))
    const redisOptions = { commandTimeout: PEER_TIMEOUT_MS, connectTimeout: PEER_TIMEOUT_MS }
    const cluster = new Redis.Cluster(nodes, { redisOptions })
    // Callers see errors in their calls.
    cluster.on('error', () => {})
    return (key, value) => cluster.set(key, value)
  },
}

const nowUs = () => process.hrtime.bigint() / 1000n

const [name, to, callers, intervalMs, path] = process.argv.slice(2)
const put = await open[name](to)
let lines = []
writeFileSync(path, '')

function flush() {
  appendFileSync(path, lines.join(''))
  lines = []
}

async function call(caller) {
  const key = `{caller}node-${caller}`
  await sleep((Number(intervalMs) * caller) / Number(callers))
  for (let number = 0; ; number += 1) {
    const value = Buffer.alloc(VALUE_BYTES, 'v')
    value.writeUInt32LE(number)
    const begin = nowUs()
    let outcome = 'ok'
    try {
      await put(key, value)
    } catch (error) {
      outcome = String(error).replaceAll('\n', ' ')
    }
    lines.push(`${caller} ${begin} ${nowUs()} ${outcome}\n`)
    await sleep(Number(intervalMs))
  }
}

for (let caller = 0; caller < Number(callers); caller += 1) void call(caller)
setInterval(flush, FLUSH_EVERY_MS)
process.stdin.on('end', () => {
  flush()
  // Calls that are still under way are not waited for.
  process.exit(0)
})
process.stdin.resume()

// GETs of existing keys, so many in flight: slotkv, ioredis or valkey-glide.
//
//     node benches/node/get.mjs slotkv|ioredis|glide URI|PORT OPERATIONS RECORDS IN_FLIGHT
//
// Every client runs the same loop: IN_FLIGHT tasks, each awaiting one GET after the other, values as bytes. Prints one
// line of JSON.

import { Keys } from './keys.mjs'
import { Measure } from './measure.mjs'

/** Not measured: connections are made and code is warmed up. */
const WARM_UP_OPERATIONS = 20_000

const open = {
  async slotkv(uri) {
    const { connect } = await import('slotkv')
    const client = await connect(uri)
    return { get: (key) => client.get(key), close: () => client.close() }
  },
  async ioredis(port) {
    const { Redis } = await import('ioredis')
    const cluster = new Redis.Cluster([{ host: '127.0.0.1', port: Number(port) }])
    return { get: (key) => cluster.getBuffer(key), close: () => cluster.quit() }
  },
  async glide(port) {
    const { Decoder, GlideClusterClient } = await import('@valkey/valkey-glide')
    const addresses = [{ host: '127.0.0.1', port: Number(port) }]
    const client = await GlideClusterClient.createClient({ addresses, defaultDecoder: Decoder.Bytes })
    return { get: (key) => client.get(key), close: async () => client.close() }
  },
}

/** Runs the operations; the latency of each in milliseconds. */
async function load(get, keys, operations, inFlight) {
  const latencies = new Float64Array(operations)
  let begun = 0
  async function work(chosen) {
    let at = 0
    while (begun < operations) {
      const operation = begun
      begun += 1
      const start = performance.now()
      const value = await get(chosen[at])
      latencies[operation] = performance.now() - start
      if (value === null) throw new Error(`${chosen[at]} is missing; the bench wants hits only`)
      at = (at + 1) % chosen.length
    }
  }
  await Promise.all(Array.from({ length: inFlight }, (_, task) => work(keys.some(task))))
  return latencies
}

const [client, to, operations, records, inFlight] = process.argv.slice(2)
const { get, close } = await open[client](to)
const keys = await Keys.of(client, to, Number(records))
await load(get, keys, WARM_UP_OPERATIONS, Number(inFlight))
const measure = new Measure()
const latencies = await load(get, keys, Number(operations), Number(inFlight))
console.log(measure.report(latencies))
await close()

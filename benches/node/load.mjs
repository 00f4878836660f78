// Operations, so many in flight: slotkv, ioredis or valkey-glide.
//
//     node benches/node/load.mjs slotkv|ioredis|glide URI|PORT WORKLOAD OPERATIONS RECORDS IN_FLIGHT
//
// Every client runs the same loop: IN_FLIGHT tasks, each awaiting one operation after the other, values as bytes. Prints
// one line of JSON.

import { Keys } from './keys.mjs'
import { Measure } from './measure.mjs'

/** The part of the operations that runs before it is measured: connections are made and code is warmed up. */
const WARM_UP_PART = 20
/** Keys of one call on many. */
const MANY_KEYS = 100
const LARGE_VALUE = Buffer.alloc(1 << 20, 'large')
const LARGE_KEYS = Array.from({ length: 16 }, (_, number) => `large:${number}`)

const open = {
  async slotkv(uri) {
    const { connect } = await import('slotkv')
    const client = await connect(uri)
    return {
      get: (key) => client.get(key),
      getMany: (keys) => client.getMany(keys),
      put: (key, value) => client.put(key, value),
      close: () => client.close(),
    }
  },
  async ioredis(port) {
    const { Redis } = await import('ioredis')
    const cluster = new Redis.Cluster([{ host: '127.0.0.1', port: Number(port) }])
    return {
      get: (key) => cluster.getBuffer(key),
      put: (key, value) => cluster.set(key, value),
      close: () => cluster.quit(),
    }
  },
  async glide(port) {
    const { Decoder, GlideClusterClient } = await import('@valkey/valkey-glide')
    const addresses = [{ host: '127.0.0.1', port: Number(port) }]
    const client = await GlideClusterClient.createClient({ addresses, defaultDecoder: Decoder.Bytes })
    return {
      get: (key) => client.get(key),
      getMany: (keys) => client.mget(keys),
      put: (key, value) => client.set(key, value),
      close: async () => client.close(),
    }
  },
}

/** What an operation of each workload is given, from the keys of a task, and what it does. */
const workloads = {
  get: { arguments: (keys) => keys, begin: (client) => client.get },
  many: {
    arguments: (keys) =>
      Array.from({ length: keys.length / MANY_KEYS }, (_, at) => keys.slice(at * MANY_KEYS, (at + 1) * MANY_KEYS)),
    begin: (client) => client.getMany,
  },
  'get-large': { isLarge: true, arguments: () => LARGE_KEYS, begin: (client) => client.get },
  'put-large': { isLarge: true, arguments: () => LARGE_KEYS, begin: (client) => (key) => client.put(key, LARGE_VALUE) },
}

/** Runs the operations, a task for each list of arguments; the latency of each in milliseconds. */
async function load(begin, lists, operations) {
  const latencies = new Float64Array(operations)
  let begun = 0
  async function work(chosen) {
    let at = 0
    while (begun < operations) {
      const operation = begun
      begun += 1
      const start = performance.now()
      const result = await begin(chosen[at])
      latencies[operation] = performance.now() - start
      if (result === null) throw new Error(`${chosen[at]} is missing; the bench wants hits only`)
      at = (at + 1) % chosen.length
    }
  }
  await Promise.all(lists.map(work))
  return latencies
}

const [name, to, workloadName, operations, records, inFlight] = process.argv.slice(2)
const client = await open[name](to)
const workload = workloads[workloadName]
if (workload.isLarge) for (const key of LARGE_KEYS) await client.put(key, LARGE_VALUE)
const keys = await Keys.of(name, to, Number(records))
const lists = Array.from({ length: Number(inFlight) }, (_, task) => workload.arguments(keys.some(task)))
const begin = workload.begin(client)
await load(begin, lists, Math.floor(Number(operations) / WARM_UP_PART))
const measure = new Measure()
const latencies = await load(begin, lists, Number(operations))
console.log(measure.report(latencies))
await client.close()

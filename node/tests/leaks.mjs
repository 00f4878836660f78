// Calls of every kind, again and again, and what the process holds meanwhile.
//
//   node --expose-gc leaks.mjs URI CALLS [plant]
//
// Prints a line of JSON after a third of the calls, when whatever is kept for good has been made, after two thirds and at
// the end. With "plant" it ends so that a client, which nobody knows any more, is not freed.

import { readdirSync } from 'node:fs'

import { connect, InvalidArgumentError, ManyError, NotANumberError } from 'slotkv'

const [uri, told, plant] = process.argv.slice(2)
const calls = Number(told)

/** Calls at once. */
const TASKS = 50
/** Calls of a round, about; in each a client is made and closed. */
const ROUND_CALLS = Math.min(calls, 100_000)
/** Of those, plain ones in large batches, which take least time. */
const PLAIN = 0.9
/** How often a round has the calls on many keys. */
const MANY = 10
/** Ends of weak references and buffers need turns of the loop to be noticed. */
const GC_ROUNDS = 5

const keys = Array.from({ length: 256 }, (_, number) => `key:${number}`)
const value = Buffer.alloc(100, 'v')

const turn = () => new Promise((resolve) => setImmediate(resolve))

async function tell(calls) {
  for (let round = 0; round < GC_ROUNDS; round += 1) {
    globalThis.gc()
    await turn()
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
  const [threads, descriptors] = ['task', 'fd'].map((folder) => readdirSync(`/proc/self/${folder}`).length)
  console.log(JSON.stringify({ calls, rss, heapUsed, external, arrayBuffers, threads, descriptors }))
}

function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`)
}

async function failing(call, error) {
  const reason = await call.then(
    () => undefined,
    (reason) => reason,
  )
  check(typeof error === 'function' ? reason instanceof error : reason === error, `${reason} for ${error}`)
}

/** Calls of every kind; how many. */
async function oneOfEach(client, key) {
  await client.put(key, value)
  check(value.equals(await client.get(key)), 'the value')
  check((await client.get('absent')) === null, 'absent')
  const { version } = await client.getEntry(key)
  await client.compareAndSet(key, value, version)
  check(!(await client.putIfAbsent(key, value)).done, 'unmet')
  check(await client.has(key), 'there')
  await client.increment('number')
  await client.delete('absent')
  await failing(client.increment(key), NotANumberError)
  await failing(client.put('', value), InvalidArgumentError)
  await failing(client.put(key, 5), TypeError)
  // Given up before it was begun, before it was sent, and after.
  await failing(client.get(key, { signal: AbortSignal.abort('early') }), 'early')
  const controller = new AbortController()
  const { signal } = controller
  const unsent = client.get(key, { signal })
  controller.abort('now')
  await failing(unsent, 'now')
  const later = new AbortController()
  const sent = client.get(key, { signal: later.signal })
  const waits = Promise.allSettled([sent])
  await turn()
  later.abort('later')
  await waits
  client.explain(key)
  return 15
}

async function manyOfEach(client) {
  await client.putMany(keys.map((key) => [key, value]))
  check((await client.getMany(keys)).every((found) => value.equals(found)), 'the values')
  const mixed = await client.getMany(['', ...keys.slice(0, 3)], { returnErrors: true })
  check(mixed[0] instanceof InvalidArgumentError, 'an error among results')
  await failing(client.deleteMany(['', 'absent']), ManyError)
  let items = 0
  for await (const item of client.scan({ prefix: 'key:', pageItems: 50 })) items += item.value.length / 100
  check(items === keys.length, 'every item')
  for await (const _ of client.scan({ prefix: 'key:', pageItems: 10 })) break
  check((await client.count({ prefix: 'key:' })) === keys.length, 'the count')
  client.stats()
  return 2 * keys.length + 14
}

async function round() {
  const client = await connect(uri)
  let made = 0
  for (let time = 0; time < MANY; time += 1) made += await manyOfEach(client)
  while (made < ROUND_CALLS * PLAIN) {
    await Promise.all(keys.map((key) => client.put(key, value)))
    check((await Promise.all(keys.map((key) => client.get(key)))).every((found) => value.equals(found)), 'values')
    made += 2 * keys.length
  }
  const work = async (key) => {
    while (made < ROUND_CALLS) made += await oneOfEach(client, key)
  }
  await Promise.all(keys.slice(0, TASKS).map(work))
  client.namespace('other').withDeadline(1000)
  await client.close()
  return made
}

let made = 0
for (const third of [1, 2, 3]) {
  while (made < (calls * third) / 3) made += await round()
  await tell(made)
}

if (plant === 'plant') {
  const client = await connect(uri)
  await client.get('key')
  // Past the end of the environment, at which what JavaScript holds is freed.
  process.reallyExit(0)
}

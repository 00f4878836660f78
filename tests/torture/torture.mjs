// The Node client of the torture: `node torture.mjs PACKAGE URI SEED NUMBER FILE`, with the package's folder. `README.md`
// here says what it does.

import { closeSync, openSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

const [folder, uri, seed, number, path] = process.argv.slice(2)
const { connect, SlotkvError } = createRequire(import.meta.url)(folder)

/** Operations at a time. */
const CALLERS = 3
/** Keys in use at a time: so many for everything but increments, and so many counters. */
const KEYS = 8
const COUNTERS = 2
/** A key is in use for so long; then another takes its place. */
const KEY_NS = 6_000_000_000n
/** Operations of one client on one key, after which it leaves the key to others. */
const KEY_OPERATIONS_MAX = 150
/** Longest pause between the operations of one caller. */
const PAUSE_MS_MAX = 30
/** Patience of most operations, and of every fifth. */
const DEADLINE_MS = 10_000
const DEADLINE_SHORT_MS = 500
/** Values of one client are this times its number, and more. */
const VALUES = 1_000_000_000n

let state = BigInt(seed) * 256n + BigInt(number)
/** A number below `limit` (SplitMix64). */
function below(limit) {
  const mask = (1n << 64n) - 1n
  state = (state + 0x9e3779b97f4a7c15n) & mask
  let mixed = state
  mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
  mixed = ((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn) & mask
  return Number((mixed ^ (mixed >> 31n)) % BigInt(limit))
}

const file = openSync(path, 'w')
/** By key: how often this client used it, and the version of a value that it has seen there. */
const seen = new Map()
let value = BigInt(number) * VALUES
let isOver = false

/** What a caller does next; nothing if this client has used the key enough. */
function next() {
  const place = below(KEYS + COUNTERS)
  const now = process.hrtime.bigint()
  const generation = (now + (BigInt(place) * KEY_NS) / BigInt(KEYS + COUNTERS)) / KEY_NS
  const key = `${place < KEYS ? 'key' : 'counter'}${place}.${generation}`
  if (!seen.has(key)) seen.set(key, { count: 0, version: 0n })
  const mine = seen.get(key)
  mine.count += 1
  if (mine.count > KEY_OPERATIONS_MAX) return null
  value += 1n
  const options = { deadlineMs: below(5) === 0 ? DEADLINE_SHORT_MS : DEADLINE_MS }
  const operation = (call, method, ...rest) => ({ key, mine, call, method, arguments: [key, ...rest, options] })
  if (place >= KEYS) {
    return below(4) === 0 ? operation('get', 'getEntry') : operation('add', 'increment', 1)
  }
  const kind = below(11)
  if (kind < 3) return operation(`put:${value}`, 'put', `${value}`)
  if (kind < 7) return operation('get', 'getEntry')
  if (kind === 7) return operation('delete', 'delete')
  if (kind === 8) return operation(`absent:${value}`, 'putIfAbsent', `${value}`)
  return operation(`set:${mine.version}:${value}`, 'compareAndSet', `${value}`, mine.version)
}

function told({ method, mine }, answer) {
  if (method === 'increment') return `number:${answer}`
  mine.version = answer === null || method === 'delete' ? 0n : mine.version
  if (answer === null) return 'nothing'
  if (method === 'getEntry') {
    mine.version = answer.version
    return `read:${answer.version}:${answer.value}`
  }
  if (method === 'delete') return answer.done ? `deleted:${answer.version}` : 'missing'
  if (answer.done || answer.version === 0n) mine.version = answer.version
  return `${answer.done ? 'written' : 'unmet'}:${answer.version}`
}

async function call(client) {
  while (!isOver) {
    await sleep(below(PAUSE_MS_MAX + 1))
    const operation = next()
    if (operation === null) continue
    const begun = process.hrtime.bigint()
    let end
    try {
      end = told(operation, await client[operation.method](...operation.arguments))
    } catch (error) {
      if (!(error instanceof SlotkvError)) throw error
      end = error.outcome
    }
    writeSync(file, `${operation.key} ${operation.call} ${begun} ${process.hrtime.bigint()} ${end}\n`)
  }
}

async function connected() {
  for (;;) {
    try {
      return await connect(uri)
    } catch (error) {
      if (!(error instanceof SlotkvError)) throw error
      await sleep(100)
    }
  }
}

const client = await connected()
process.stdout.write('ready\n')
process.stdin.resume()
process.stdin.once('end', () => {
  isOver = true
})
await Promise.all(Array.from({ length: CALLERS }, () => call(client)))
await client.close()
closeSync(file)

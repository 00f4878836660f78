// The driver of the Node client: `node conform.mjs PACKAGE URI`, with the package's folder.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

import { ofDelete, ofEntry, ofError, ofItems, ofMany, ofPut, ofValue, Step } from './step.mjs'

const [folder, uri] = process.argv.slice(2)
const { connect, SlotkvError } = createRequire(import.meta.url)(folder)

class Driver {
  /** Range and cursor of the last scan that did not come to its end. */
  #lastScan
  /** Of the last error that had one. */
  #lastToken

  constructor(client) {
    this.client = client
  }

  async carryOut(step) {
    try {
      return await this.#told(step)
    } catch (error) {
      const isOdd = step.odd.size > 0
      this.#lastToken = error.token ?? this.#lastToken
      if (error instanceof SlotkvError) return isOdd && error.kind === 'INVALID_ARGUMENT' ? 'refused' : ofError(error)
      // Of bytes and numbers in their places it would be a mistake.
      if (isOdd && (error instanceof TypeError || error instanceof RangeError)) return 'refused'
      throw error
    }
  }

  async #told(step) {
    let { client } = this
    const [namespace, deadlineMs, ttlMs] = ['namespace', 'deadline_ms', 'ttl_ms'].map((name) => step.option(name))
    const [viewTraceparent, traceparent] = ['view_traceparent', 'traceparent'].map((name) => textOf(step.option(name)))
    if (namespace !== undefined) client = client.namespace(textOf(namespace))
    if (deadlineMs !== undefined) client = client.withDeadline(deadlineMs)
    if (viewTraceparent !== undefined) client = client.withTraceparent(viewTraceparent)
    if (step.options.has('read_level')) client = client.withReadLevel(textOf(step.option('read_level')))
    if (step.options.has('staleness_ms')) client = client.withStaleness(step.option('staleness_ms'))
    if (step.flag('closed')) {
      client = await connect(uri)
      await client.close()
    }
    const [first, second, third] = step.arguments
    if (step.flag('cancel')) return await cancelled(client, first)
    const bounds = Object.fromEntries(['prefix', 'start', 'end'].map((name) => [name, step.option(name)]))
    switch (step.operation) {
      case 'connect':
        await (await connect(textOf(first), step.options.has('unknown') ? { unknown: 1 } : {})).close()
        return 'done'
      case 'get':
        return ofValue(await client.get(first, { traceparent }))
      case 'get_entry':
        return ofEntry(await client.getEntry(first, { traceparent }))
      case 'has':
        return String(await client.has(first))
      case 'put':
        return ofPut(await client.put(first, second, { ttlMs }))
      case 'put_if_absent':
        return ofPut(await client.putIfAbsent(first, second, { ttlMs }))
      case 'update_if_present':
        return ofPut(await client.updateIfPresent(first, second, { ttlMs }))
      case 'compare_and_set':
        return ofPut(await client.compareAndSet(first, second, third, { ttlMs }))
      case 'expire':
        return ofPut(await client.expire(first, typeof second === 'bigint' ? Number(second) : second))
      case 'persist':
        return ofPut(await client.persist(first))
      case 'gone':
        while (await client.has(first)) await new Promise((resolve) => setTimeout(resolve, 5))
        return 'gone'
      case 'delete':
        return ofDelete(await client.delete(first))
      case 'delete_if_version':
        return ofDelete(await client.deleteIfVersion(first, second))
      case 'increment':
        return `number ${await client.increment(first, second)}`
      case 'outcome': {
        const token = first ?? this.#lastToken
        if (token === undefined) return 'no token'
        const { status, version, number } = await client.outcome(token)
        return `outcome ${status} ${version} ${number}`
      }
      case 'get_many':
        return many(await client.getMany(step.all(), { returnErrors: true, traceparent }), ofValue)
      case 'put_many': {
        const words = step.arguments
        const pairs = Array.from({ length: words.length / 2 }, (_, at) => [words[2 * at], words[2 * at + 1]])
        const all = step.options.has('whole') ? step.option('whole') : pairs
        return many(await client.putMany(all, { returnErrors: true, ttlMs }), ofPut)
      }
      case 'delete_many':
        return many(await client.deleteMany(step.all(), { returnErrors: true }), ofDelete)
      case 'count':
        return `count ${await client.count(bounds)}`
      case 'scan': {
        const [ordered, keysOnly] = ['ordered', 'keys_only'].map((name) => step.flag(name))
        const [pageItems, cursor] = ['page_items', 'cursor'].map((name) => step.option(name))
        return await this.#scan(client, step, { ...bounds, ordered, keysOnly, pageItems, cursor })
      }
      case 'scan_on':
        if (this.#lastScan === undefined) return 'no scan'
        return await this.#scan(client, step, this.#lastScan)
      case 'dump':
        return ofItems(await client.dump({ prefix: step.option('prefix') }), 'end')
      case 'slot':
        return `slot ${client.slot(first)}`
      default:
        return 'unknown'
    }
  }

  async #scan(client, step, span) {
    const limit = step.option('limit')
    const scan = client.scan({ ...span, limit })
    const items = []
    for await (const item of scan) items.push(item)
    if (step.odd.size > 0) return 'accepted'
    const isComplete = limit === undefined || items.length < limit
    this.#lastScan = isComplete ? undefined : { ...span, cursor: scan.cursor }
    return ofItems(items, isComplete ? 'end' : 'cursor')
  }
}

/** Bytes of a step as the text they are; what is of a wrong type as it is. */
const textOf = (value) => (Buffer.isBuffer(value) ? value.toString() : value)

/** Begins to read a key and gives it up at once. */
async function cancelled(client, key) {
  const abort = new AbortController()
  const call = client.get(key, { signal: abort.signal })
  abort.abort()
  try {
    await call
    return 'ended'
  } catch (error) {
    if (error === abort.signal.reason) return 'cancelled'
    throw error
  }
}

function many(results, text) {
  return ofMany(results.map((result) => (result instanceof SlotkvError ? ofError(result) : text(result))))
}

const driver = new Driver(await connect(uri))
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${await driver.carryOut(new Step(line))}\n`)
}
await driver.client.close()

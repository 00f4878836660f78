import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Scan } from 'slotkv'

import { clientFor, startCluster } from './cluster.mjs'

const cluster = await startCluster()
const COUNT = 300

async function filled(t) {
  const client = await clientFor(t, cluster)
  const keys = Array.from({ length: COUNT }, (_, number) => `key${String(number).padStart(3, '0')}`)
  await client.putMany(keys.map((key) => [key, `of ${key}`]))
  return { client, keys }
}

test('a scan gives every key once, ordered if asked', async (t) => {
  const { client, keys } = await filled(t)
  const found = []
  for await (const item of client.scan({ pageItems: 7 })) {
    assert.equal(item.value.toString(), `of ${item.key}`)
    assert.equal(item.slot, client.slot(item.key))
    assert.equal(item.version, 1n)
    found.push(item.key.toString())
  }
  assert.deepEqual([...found].sort(), keys)
  const ordered = []
  for await (const item of client.scan({ ordered: true, keysOnly: true, prefix: 'key1' })) {
    assert.equal(item.value.length, 0)
    ordered.push(item.key.toString())
  }
  assert.deepEqual(ordered, keys.slice(100, 200))
  assert.equal(await client.count({ start: 'key290', end: 'key295' }), 5)
  const dump = await client.dump({ prefix: 'key29' })
  assert.deepEqual(dump.map(({ key }) => key.toString()), keys.slice(290))
})

test('a scan goes on at the cursor of another', async (t) => {
  const { client, keys } = await filled(t)
  const first = client.scan({ ordered: true, pageItems: 10 })
  assert.equal(first.cursor, null)
  let taken = 0
  for await (const item of first) {
    taken += 1
    if (item.key.toString() === keys[24]) break
  }
  assert.equal(taken, 25)
  assert.deepEqual(await first.next(), { done: true, value: undefined })
  const rest = []
  for await (const item of client.scan({ ordered: true, cursor: first.cursor, limit: 5 })) rest.push(item.key.toString())
  assert.deepEqual(rest, keys.slice(25, 30))
})

test('steps that are asked for at once come one after another', async (t) => {
  const { client, keys } = await filled(t)
  const scan = client.scan({ ordered: true, pageItems: 2 })
  assert.ok(scan instanceof Scan)
  const steps = await Promise.all(Array.from({ length: COUNT + 2 }, () => scan.next()))
  assert.deepEqual(steps.slice(0, COUNT).map(({ value }) => value.key.toString()), keys)
  assert.ok(steps.slice(COUNT).every(({ done, value }) => done && value === undefined))
})

test('a scan that was given up can be gone on with', async (t) => {
  const { client, keys } = await filled(t)
  const controller = new AbortController()
  const scan = client.scan({ ordered: true, pageItems: 2, signal: controller.signal })
  await scan.next()
  await scan.next()
  const step = scan.next()
  controller.abort()
  await assert.rejects(step, { name: 'AbortError' })
  await assert.rejects(scan.next(), { name: 'AbortError' })
  const next = await client.scan({ ordered: true, cursor: scan.cursor }).next()
  assert.equal(next.value.key.toString(), keys[2])
})

test('a cursor that is none is refused', async (t) => {
  const client = await clientFor(t, cluster)
  await assert.rejects(client.scan({ cursor: 'nonsense' }).next(), { kind: 'UNSUPPORTED' })
  assert.throws(() => client.scan({ cursor: 5 }), TypeError)
  assert.throws(() => client.scan({ limit: -1 }), RangeError)
  assert.throws(() => client.scan({ ordered: 1 }), TypeError)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import { connect, InvalidArgumentError, ManyError, NotANumberError, NumberOverflowError, TooLargeError } from 'slotkv'

import { clientFor, startCluster } from './cluster.mjs'

const cluster = await startCluster()

test('a value comes back as it was put, with a version that grows', async (t) => {
  const client = await clientFor(t, cluster)
  assert.equal(await client.get('key'), null)
  assert.equal(await client.getEntry('key'), null)
  const created = await client.put('key', 'value')
  assert.deepEqual([created.status, created.done], ['created', true])
  assert.equal(typeof created.version, 'bigint')
  assert.deepEqual(await client.get('key'), Buffer.from('value'))
  const updated = await client.put('key', Buffer.from([0, 255]))
  assert.equal(updated.status, 'updated')
  assert.ok(updated.version > created.version)
  assert.deepEqual(await client.getEntry('key'), { value: Buffer.from([0, 255]), version: updated.version, ttlMs: null })
  assert.equal(await client.has('key'), true)
  assert.equal(await client.has('other'), false)
})

test('keys and values are strings or any view of bytes', async (t) => {
  const client = await clientFor(t, cluster)
  const array = new Uint8Array([9, 0xc3, 0xbc, 9]).subarray(1, 3)
  await client.put('ü', array)
  assert.deepEqual(await client.get(array), Buffer.from('ü'))
  for (const text of ['', 'x'.repeat(506), 'x'.repeat(507), 'x'.repeat(508), 'x'.repeat(512), '€'.repeat(5000), '\u{1F600}\0']) {
    await client.put('text', text)
    assert.equal((await client.get('text')).toString(), text)
  }
  // Half of a surrogate pair has no UTF-8.
  for (const wrong of ['\ud800', undefined, null, 5, {}, [1], new ArrayBuffer(2), new Uint16Array(2)]) {
    await assert.rejects(client.get(wrong), TypeError)
    await assert.rejects(client.put('key', wrong), TypeError)
  }
})

test('conditions that do not hold are results', async (t) => {
  const client = await clientFor(t, cluster)
  assert.deepEqual(await client.updateIfPresent('key', '1'), { status: 'unmet', version: 0n, done: false })
  const { version } = await client.putIfAbsent('key', '1')
  assert.deepEqual(await client.putIfAbsent('key', '2'), { status: 'unmet', version, done: false })
  assert.equal((await client.compareAndSet('key', '2', version + 1n)).status, 'unmet')
  const set = await client.compareAndSet('key', '2', Number(version))
  assert.equal(set.status, 'updated')
  assert.deepEqual(await client.deleteIfVersion('key', version), { status: 'unmet', version: set.version, done: false })
  assert.equal((await client.deleteIfVersion('key', set.version)).status, 'deleted')
  assert.deepEqual(await client.delete('key'), { status: 'not_found', version: 0n, done: false })
  await client.put('key', '3')
  const deleted = await client.delete('key')
  assert.ok(deleted.done && deleted.version > set.version)
  for (const wrong of [-1, 1.5, 2n ** 64n, 2 ** 53]) {
    await assert.rejects(client.compareAndSet('key', '', wrong), RangeError)
  }
  await assert.rejects(client.compareAndSet('key', ''), TypeError)
})

test('a lifetime is told in milliseconds and ends', async (t) => {
  const client = await clientFor(t, cluster)
  const isWithin = (ttlMs, most) => assert.ok(ttlMs > most - 100_000 && ttlMs <= most, `${ttlMs} of ${most}`)
  const { version } = await client.put('lasting', '1', { ttlMs: 3_600_000 })
  isWithin((await client.getEntry('lasting')).ttlMs, 3_600_000)
  assert.deepEqual(await client.get('lasting'), Buffer.from('1'))
  assert.ok((await client.compareAndSet('lasting', '2', version, { ttlMs: 315_360_000_000 })).done)
  const [here] = await client.dump({ prefix: 'lasting' })
  isWithin(here.ttlMs, 315_360_000_000)
  for await (const { ttlMs } of client.scan({ prefix: 'lasting' })) isWithin(ttlMs, 315_360_000_000)
  assert.equal((await client.expire('lasting', 7_200_000)).status, 'updated')
  assert.equal(await client.increment('lasting'), 3n)
  isWithin((await client.getEntry('lasting')).ttlMs, 7_200_000)
  assert.deepEqual(await client.getMany(['lasting', 'nobody']), [Buffer.from('3'), null])
  assert.ok((await client.persist('lasting')).done)
  assert.equal((await client.getEntry('lasting')).ttlMs, null)
  for await (const { ttlMs } of client.scan({ prefix: 'lasting' })) assert.equal(ttlMs, null)
  await client.putMany([['lasting', '4'], ['lasting2', '5']], { ttlMs: 50 })
  for (const key of ['lasting', 'lasting2']) {
    for (let entry; (entry = await client.getEntry(key)) !== null; ) await setTimeout(entry.ttlMs)
  }
  assert.deepEqual(await client.persist('lasting'), { status: 'unmet', version: 0n, done: false })
  await assert.rejects(client.put('lasting', '6', { ttlMs: 0 }), RangeError)
  await assert.rejects(client.expire('lasting', '7'), TypeError)
  await assert.rejects(client.expire('lasting', 315_360_000_001), InvalidArgumentError)
})

test('numbers are exact over the whole range of 64 bits', async (t) => {
  const client = await clientFor(t, cluster)
  assert.equal(await client.increment('number'), 1n)
  assert.equal(await client.increment('number', -3), -2n)
  assert.equal(await client.increment('number', 2n ** 63n - 1n), 2n ** 63n - 3n)
  await assert.rejects(client.increment('number', 3), NumberOverflowError)
  assert.equal(await client.increment('low', -(2n ** 63n)), -(2n ** 63n))
  await client.put('text', 'text')
  await assert.rejects(client.increment('text'), NotANumberError)
  await assert.rejects(client.increment('number', 2n ** 63n), RangeError)
})

test('many keys have a result each, in their order', async (t) => {
  const client = await clientFor(t, cluster)
  const pairs = Array.from({ length: 500 }, (_, number) => [`key${number}`, `value${number}`])
  const puts = await client.putMany(new Map(pairs))
  assert.ok(puts.length === 500 && puts.every(({ status }) => status === 'created'))
  const values = await client.getMany([...pairs.map(([key]) => key), 'absent'])
  assert.deepEqual(values.map(String), [...pairs.map(([, value]) => value), 'null'])
  const deletes = await client.deleteMany(new Set(['key0', 'absent']))
  assert.deepEqual(deletes.map(({ status }) => status), ['deleted', 'not_found'])
  assert.equal(await client.count(), 499)
  assert.deepEqual(await client.getMany([]), [])
  await assert.rejects(client.getMany('key'), TypeError)
  await assert.rejects(client.getMany([1]), TypeError)
  await assert.rejects(client.putMany([['key']]), TypeError)
})

test('a key of many that fails does not hide the others', async (t) => {
  const client = await clientFor(t, cluster)
  await client.put('good', '1')
  const results = await client.getMany(['good', '', 'absent'], { returnErrors: true })
  assert.deepEqual([String(results[0]), results[2]], ['1', null])
  assert.ok(results[1] instanceof InvalidArgumentError)
  const error = await client.getMany(['good', '', 'absent']).catch((error) => error)
  assert.ok(error instanceof ManyError)
  assert.deepEqual([error.code, error.kind, error.outcome, error.retryable], [1, 'INVALID_ARGUMENT', 'failed', false])
  assert.deepEqual([...error.errors.keys()], [1])
  assert.ok(error.cause instanceof InvalidArgumentError && error.cause === error.results[1])
  assert.deepEqual(error.results[0], Buffer.from('1'))
})

test('values up to the limit arrive, and past it the limit is named', async (t) => {
  const client = await clientFor(t, cluster)
  for (const length of [0, 1, 2048, 2049, 8192, 1 << 20]) {
    const value = Buffer.alloc(length, 'slotkv')
    await client.put('large', value)
    const found = await client.get('large')
    assert.ok(found.equals(value), `${length} bytes`)
  }
  const values = await Promise.all(Array.from({ length: 8 }, () => client.get('large')))
  assert.ok(values.every((value) => value.length === 1 << 20))
  const error = await client.put('large', Buffer.alloc((16 << 20) + 1)).catch((error) => error)
  assert.ok(error instanceof TooLargeError)
  assert.match(error.message, /16777216/)
})

test('a value that is kept does not change with later batches', async (t) => {
  const client = await clientFor(t, cluster)
  await Promise.all(Array.from({ length: 200 }, (_, number) => client.put(`${number}`, `value ${number}`)))
  const first = await Promise.all(Array.from({ length: 200 }, (_, number) => client.get(`${number}`)))
  first.forEach((value, number) => assert.equal(value.toString(), `value ${number}`))
  await Promise.all(Array.from({ length: 200 }, () => client.get('0')))
  first.forEach((value, number) => assert.equal(value.toString(), `value ${number}`))
  first[0].fill(0)
  assert.equal(first[1].toString(), 'value 1')
})

test('views share connections, and have names and deadlines of their own', async (t) => {
  const client = await clientFor(t, cluster)
  const other = client.namespace('other-place')
  await client.put('key', 'here')
  await other.put('key', 'there')
  assert.equal((await client.get('key')).toString(), 'here')
  assert.equal((await other.withDeadline(2000).get('key')).toString(), 'there')
  const traced = client.withTraceparent('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')
  assert.equal((await traced.get('key')).toString(), 'here')
  await assert.rejects(client.withTraceparent('x'.repeat(1000)).get('key'), TooLargeError)
  assert.throws(() => client.namespace('x'.repeat(300)), { code: 2 })
  assert.throws(() => client.withDeadline(0), RangeError)
  await other.delete('key')
})

test('a client tells where keys go and what it did', async (t) => {
  const client = await clientFor(t, cluster)
  await client.put('{tag}key', '1')
  const explain = client.explain('{tag}key')
  assert.equal(explain.slot, client.slot('tag'))
  assert.deepEqual([explain.tag.toString(), explain.connected, typeof explain.epoch], ['tag', true, 'bigint'])
  const stats = client.stats()
  assert.equal(stats.callsOk, 1)
  assert.equal(stats.members.length, 3)
  // A master learns a moment later than clients who leads.
  let status = await client.status()
  while (status.shards.some(({ state }) => state !== 'leader')) status = await client.status()
  assert.equal(status.clusterId, explain.clusterId)
  assert.equal(status.shards.length, 3)
  for (const shard of status.shards) {
    const { replicas, preferred, reason, lossEpoch, recover, copies } = shard
    assert.deepEqual([replicas, reason, lossEpoch, recover, copies.length], [1, '', 0n, '', 1])
    assert.equal(preferred, shard.primary)
    const [copy] = copies
    assert.deepEqual([copy.name, copy.live, copy.inIsr, [copy.name]], [shard.primary, true, true, shard.isr])
    assert.ok(copy.state.startsWith('leader') && copy.sinceMs > 1.6e12 && copy.zone === '')
    assert.ok(status.members.some(({ name, address }) => name === copy.name && address === copy.address))
  }
  assert.deepEqual(client.explain('foo').hashSlot, 12182)
})

test('closing again does nothing, and a closed client says so', async () => {
  const client = await connect(cluster.uri)
  await client.close()
  await client.close()
  const error = await client.get('key').catch((error) => error)
  assert.deepEqual([error.name, error.kind, error.outcome], ['ClosedError', 'CLOSED', 'failed'])
  const disposed = await connect(cluster.uri)
  await disposed[Symbol.asyncDispose]()
  await assert.rejects(disposed.has('key'), { kind: 'CLOSED' })
})

test('options that cannot be are refused by name', async (t) => {
  await assert.rejects(connect(cluster.uri, { deadline: 5 }), /no option deadline/)
  await assert.rejects(connect(cluster.uri, { deadlineMs: '5' }), TypeError)
  await assert.rejects(connect(cluster.uri, { deadlineMs: -5 }), RangeError)
  await assert.rejects(connect(cluster.uri, { deadlineMs: 1e9 }), InvalidArgumentError)
  await assert.rejects(connect(cluster.uri, { streamsPerMember: 0 }), InvalidArgumentError)
  await assert.rejects(connect(5), TypeError)
  await assert.rejects(connect('redis://localhost'), InvalidArgumentError)
  await assert.rejects(connect('slotkvs://localhost'), { kind: 'UNSUPPORTED' })
  const client = await clientFor(t, cluster)
  await assert.rejects(client.get('key', { deadlineMs: Number.NaN }), RangeError)
  await assert.rejects(client.get('key', 5), TypeError)
})

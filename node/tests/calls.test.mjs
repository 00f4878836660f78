// What calls do to the event loop: batches, giving up, panics, logs.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { connect, setLogger, DeadlineError, UnexpectedError } from 'slotkv'

import { clientFor, startCluster } from './cluster.mjs'

// Not part of the package: what users cannot reach.
const { begin, bridge } = createRequire(import.meta.url)('../lib/bridge.js')

const cluster = await startCluster()

test('ten thousand calls at once cost a wake-up per batch and rings of many', async (t) => {
  const client = await clientFor(t, cluster)
  await client.put('key', 'value')
  const before = bridge.counters()
  const framesBefore = client.stats().framesReceived
  const values = await Promise.all(Array.from({ length: 10_000 }, () => client.get('key')))
  assert.ok(values.every((value) => value.toString() === 'value'))
  const { submissions, rings, completions, wakeups, drains } = bridge.counters()
  assert.equal(submissions - before.submissions, 10_000)
  assert.equal(completions - before.completions, 10_000)
  // A batch is woken for once and taken once.
  assert.ok(drains - before.drains <= wakeups - before.wakeups + 1, `${drains - before.drains} drains`)
  assert.ok(wakeups - before.wakeups < 2_000, `${wakeups - before.wakeups} wake-ups`)
  // A batch of replies may be taken while it still grows.
  const frames = client.stats().framesReceived - framesBefore
  assert.ok(wakeups - before.wakeups <= 2 * frames + 2, `${wakeups - before.wakeups} wake-ups for ${frames} frames`)
  assert.ok(rings - before.rings < 500, `${rings - before.rings} rings`)
})

test('calls of one turn are sent off together, also behind further awaits', async (t) => {
  const client = await clientFor(t, cluster)
  const wrapped = async (key) => (await client.get(key)) ?? null
  const worker = async () => {
    for (let round = 0; round < 20; round += 1) await wrapped('key')
  }
  const before = bridge.counters()
  await Promise.all(Array.from({ length: 50 }, worker))
  const { submissions, rings, drains } = bridge.counters()
  assert.equal(submissions - before.submissions, 1000)
  // A ring at the end of each turn, and the first one.
  assert.ok(rings - before.rings <= drains - before.drains + 2, `${rings - before.rings} rings`)
})

test('the traceparent of a call goes before its client\'s and has a limit', async (t) => {
  const client = await clientFor(t, cluster)
  const tooLarge = { name: 'TooLargeError', message: /traceparent/ }
  const long = { traceparent: '0'.repeat(1000) }
  await assert.rejects(client.withTraceparent(long.traceparent).get('key'), tooLarge)
  await assert.rejects(client.put('key', 'value', long), tooLarge)
  await assert.rejects(client.scan(long).next(), tooLarge)
  await assert.rejects(client.get('key', { traceparent: 5 }), TypeError)
  assert.equal(await client.withTraceparent(long.traceparent).get('key', { traceparent: '00-1-2-01' }), null)
})

test('a signal that is aborted already keeps the call from beginning', async (t) => {
  const client = await clientFor(t, cluster)
  const reason = new Error('changed my mind')
  const before = bridge.counters().submissions
  await assert.rejects(client.put('key', '1', { signal: AbortSignal.abort(reason) }), (error) => error === reason)
  await assert.rejects(connect(cluster.uri, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  assert.equal(bridge.counters().submissions, before)
  for (const signal of [{}, 5, () => {}]) await assert.rejects(client.get('key', { signal }), TypeError)
  assert.equal(await client.get('key', { signal: null }), null)
  assert.equal(await client.get('key'), null)
})

test('a call that is given up ends at once with the reason, and frees everything', async (t) => {
  const client = await clientFor(t, cluster)
  await client.put('key', '1')
  const warnings = []
  const listener = (warning) => warnings.push(warning)
  process.on('warning', listener)
  t.after(() => process.off('warning', listener))
  await cluster.pause()
  try {
    const controller = new AbortController()
    const calls = Array.from({ length: 100 }, () => client.get('key', { signal: controller.signal }))
    const settled = Promise.allSettled(calls)
    await pause(20)
    assert.equal(client.stats().inFlight, 100)
    controller.abort('enough')
    const results = await settled
    assert.ok(results.every(({ status, reason }) => status === 'rejected' && reason === 'enough'))
    await client.get('key', { deadlineMs: 50 }).catch(() => {})
    const { callsCancelled, inFlight } = client.stats()
    assert.deepEqual({ callsCancelled, inFlight }, { callsCancelled: 100, inFlight: 0 })
    assert.deepEqual(warnings, [])
  } finally {
    cluster.resume()
  }
  assert.equal((await client.get('key', { deadlineMs: 30_000 })).toString(), '1')
})

test('a signal is let go of when its call has ended', async (t) => {
  const client = await clientFor(t, cluster)
  const { signal } = new AbortController()
  let listeners = 0
  const count = (name, by) => {
    const original = signal[name].bind(signal)
    signal[name] = (...told) => {
      listeners += by
      original(...told)
    }
  }
  count('addEventListener', 1)
  count('removeEventListener', -1)
  await Promise.all(Array.from({ length: 10 }, () => client.get('key', { signal })))
  await assert.rejects(client.get('', { signal }))
  assert.equal(listeners, 0)
})

test('a deadline that passes is an error that says what is known', async (t) => {
  const client = await clientFor(t, cluster)
  await client.put('key', '1')
  await cluster.pause()
  try {
    const error = await client.put('key', '2', { deadlineMs: 50 }).catch((error) => error)
    assert.ok(error instanceof DeadlineError && error instanceof Error)
    assert.deepEqual([error.name, error.code, error.kind, error.outcome], ['DeadlineError', 20, 'TIMEOUT', 'unknown'])
    assert.match(error.member, /^127\.0\.0\.1:\d+$/)
    assert.ok(error.attempts >= 1)
    assert.match(error.message, /^TIMEOUT: .*\(member 127/)
    const read = await client.withDeadline(50).get('key').catch((error) => error)
    assert.equal(read.outcome, 'failed')
  } finally {
    cluster.resume()
  }
})

test('nobody there is an error within the time for connecting', async () => {
  const error = await connect('slotkv://127.0.0.1:1', { connectTimeoutMs: 200 }).catch((error) => error)
  assert.deepEqual([error.kind, error.retryable], ['NO_MASTER', true])
})

test('a panic becomes an error, wherever it happens, and the next call works', async (t) => {
  const client = await clientFor(t, cluster)
  for (const inRuntime of [false, true]) {
    const error = await begin((call) => bridge.panic(call, inRuntime)).catch((error) => error)
    assert.ok(error instanceof UnexpectedError)
    assert.match(error.message, /on purpose/)
  }
  assert.equal(await client.get('key'), null)
})

test('logs arrive at the function that wants them, and no longer than it does', async () => {
  const records = []
  setLogger((record) => records.push(record), { level: 'debug' })
  const client = await connect(cluster.uri)
  await client.get('key')
  await client.close()
  setLogger(null)
  assert.ok(records.some(({ level, target }) => level === 'debug' && target.startsWith('slotkv.')), `${records}`)
  const heard = records.length
  const another = await connect(cluster.uri)
  await another.close()
  assert.equal(records.length, heard)
  assert.throws(() => setLogger('console'), TypeError)
  assert.throws(() => setLogger(() => {}, { level: 'loud' }), TypeError)
})

test('a client that nobody holds is collected with its connections', async () => {
  assert.ok(globalThis.gc, 'run with --expose-gc')
  let collected = 0
  const registry = new FinalizationRegistry(() => {
    collected += 1
  })
  for (let round = 0; round < 5; round += 1) {
    const client = await connect(cluster.uri)
    await client.get('key')
    registry.register(client)
  }
  for (let round = 0; round < 50 && collected < 4; round += 1) {
    globalThis.gc()
    await pause(10)
  }
  assert.ok(collected >= 4, `${collected} of 5`)
})

test('the outcome of a write that was not answered is asked for', async (t) => {
  const client = await clientFor(t, cluster)
  await client.put('key', 'value')
  await cluster.pause()
  const error = await client.put('key', 'other', { deadlineMs: 100 }).catch((error) => error)
  cluster.resume()
  assert.equal(error.outcome, 'unknown')
  const outcome = await client.outcome(error.token, { deadlineMs: 30_000 })
  assert.ok(['updated', 'not_applied'].includes(outcome.status))
  assert.equal(outcome.applied, outcome.status === 'updated')
  assert.equal((await client.get('key')).toString(), outcome.applied ? 'other' : 'value')
  assert.deepEqual(await client.outcome(error.token), outcome)
  await assert.rejects(client.outcome(''), { kind: 'INVALID_ARGUMENT', token: null })
})

test('a session goes on where its token stands', async (t) => {
  const client = await clientFor(t, cluster)
  const session = client.withSessionToken('')
  await session.put('key', 'value')
  const views = [
    client.withSessionToken(session.sessionToken()),
    client.withReadLevel('session'),
    client.withReadLevel('linearizable'),
    client.withStaleness(60_000),
  ]
  for (const view of views) {
    assert.equal((await view.get('key')).toString(), 'value')
    assert.equal(await view.count(), 1)
  }
  assert.equal(await client.withReadLevel('stale').has('key'), true)
  assert.throws(() => client.withReadLevel('eventual'), RangeError)
  assert.throws(() => client.withSessionToken(Buffer.from([2])), { kind: 'UNSUPPORTED' })
})

// Processes and threads that end, in whatever way.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'

import { clientFor, startCluster } from './cluster.mjs'

const cluster = await startCluster()
const here = fileURLToPath(new URL('.', import.meta.url))
const SECONDS_MAX = 30

/** Runs a program of the package; rejects unless it ends with status 0, by itself and in time. */
function run(program, ...more) {
  const told = [...more, '--input-type=module', '-e', program, cluster.uri]
  return promisify(execFile)(process.execPath, told, { cwd: here, timeout: SECONDS_MAX * 1000 })
}

const CONNECT = `import { connect } from 'slotkv'; const client = await connect(process.argv[1]);`

test('a process ends without close', async () => {
  const { stdout, stderr } = await run(`${CONNECT} await client.put('a', '1'); console.log(String(await client.get('a')))`)
  assert.deepEqual([stdout, stderr], ['1\n', ''])
})

test('a call under way keeps the process until it has ended', async () => {
  const { stdout } = await run(`${CONNECT} client.get('absent').then(console.log)`)
  assert.equal(stdout, 'null\n')
})

test('a process may exit with calls under way', async () => {
  const program = `${CONNECT}
    for (let call = 0; call < 3000; call++) client.put('key' + call, 'x').catch(() => {})
    setImmediate(() => process.exit(0))`
  for (let round = 0; round < 10; round += 1) await run(program)
})

test('both kinds of modules are one package', async () => {
  const { stdout } = await run(`
    import { createRequire } from 'node:module'
    import { connect, SlotkvError } from 'slotkv'
    const other = createRequire(process.cwd() + '/')('slotkv')
    console.log(other.connect === connect, other.SlotkvError === SlotkvError)`)
  assert.equal(stdout, 'true true\n')
})

const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { connect, setLogger } = require('slotkv')
  async function main() {
    setLogger(() => {})
    const client = await connect(workerData.uri, { namespace: workerData.namespace })
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(Array.from({ length: 50 }, () => client.increment('number')))
    }
    parentPort.postMessage('done')
    if (workerData.stays) for (;;) await Promise.all(Array.from({ length: 50 }, () => client.get('number')))
  }
  main()`

function worker(namespace, stays) {
  return new Worker(WORKER, {
    eval: true,
    workerData: { uri: cluster.uri, namespace, stays },
  })
}

test('workers have environments of their own beside the main thread', async (t) => {
  const client = await clientFor(t, cluster)
  const namespace = 'workers'
  const workers = Array.from({ length: 4 }, () => worker(namespace, false))
  const own = client.namespace(namespace)
  const ended = Promise.all(workers.map((worker) => once(worker, 'exit')))
  await Promise.all(Array.from({ length: 1000 }, () => own.increment('number')))
  // They end by themselves: nothing is open.
  assert.ok((await ended).every(([status]) => status === 0))
  assert.equal((await own.get('number')).toString(), '5000')
})

test('a worker that is terminated in the middle of calls hurts nobody', async (t) => {
  const client = await clientFor(t, cluster)
  for (let round = 0; round < 5; round += 1) {
    const workers = Array.from({ length: 3 }, (_, number) => worker(`ended${round}-${number}`, true))
    await Promise.all(workers.map((worker) => once(worker, 'message')))
    const calls = Array.from({ length: 200 }, () => client.get('key'))
    await Promise.all(workers.map((worker) => worker.terminate()))
    assert.ok((await Promise.all(calls)).every((value) => value === null))
  }
})

test('the addon may live and end in a worker alone', async () => {
  const program = `
    import { Worker } from 'node:worker_threads'
    import { once } from 'node:events'
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(${JSON.stringify(WORKER)}, {
        eval: true, execArgv: [], workerData: { uri: process.argv[1], namespace: 'alone', stays: true },
      })
      await once(worker, 'message')
      await worker.terminate()
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
    console.log('alive')`
  const { stdout } = await run(program)
  assert.equal(stdout, 'alive\n')
})

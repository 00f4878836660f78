// One cluster for the tests of a file: `slotkv dev` on free ports. SLOTKV_BIN names the binary; otherwise it is looked
// for in the workspace's target folder.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { after } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { connect } from 'slotkv'

const root = new URL('../../', import.meta.url)

function binary() {
  const named = process.env.SLOTKV_BIN
  const candidates = named
    ? [named]
    : ['debug', 'release'].map((kind) => fileURLToPath(new URL(`target/${kind}/slotkv`, root)))
  const found = candidates.find((candidate) => existsSync(candidate))
  if (found === undefined) throw new Error(`no slotkv binary at ${candidates}; build it, or name it in SLOTKV_BIN`)
  return found
}

/** A `slotkv dev`. */
export class Cluster {
  static async start() {
    const cluster = new Cluster()
    cluster.process = spawn(binary(), ['dev', '--port', '0'], { stdio: ['ignore', 'pipe', 'ignore'] })
    const lines = createInterface({ input: cluster.process.stdout })
    const [line] = await once(lines, 'line')
    const [word, uri] = line.split(' ')
    if (word !== 'ready') throw new Error(`slotkv dev said ${line}`)
    cluster.uri = uri
    // The slots are allocated when all shards have registered; the first write waits for that.
    const client = await connect(uri, { deadlineMs: 30_000 })
    await client.put('ready', '')
    await client.close()
    return cluster
  }

  /** Nobody answers until `resume`. */
  async pause() {
    this.process.kill('SIGSTOP')
    // Until all its threads stand still.
    const tasks = `/proc/${this.process.pid}/task`
    const stands = (task) => /^State:\tT/m.test(readFileSync(`${tasks}/${task}/status`, 'utf8'))
    while (!readdirSync(tasks).every(stands)) await nextTurn()
  }

  resume() {
    this.process.kill('SIGCONT')
  }

  async stop() {
    const ended = once(this.process, 'exit')
    this.process.kill('SIGCONT')
    this.process.kill('SIGTERM')
    await ended
  }
}

/** A cluster that ends with the tests of its file. */
export async function startCluster() {
  const cluster = await Cluster.start()
  after(() => cluster.stop())
  return cluster
}

let namespaces = 0

/** A client in a namespace of its own, closed after test `t`. */
export async function clientFor(t, cluster, options = {}) {
  namespaces += 1
  const client = await connect(cluster.uri, { namespace: `test${process.pid}-${namespaces}`, ...options })
  t.after(() => client.close())
  return client
}

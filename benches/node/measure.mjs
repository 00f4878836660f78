// What a load took: time, CPU of this process and of the servers, latency percentiles.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Process ids of the servers, comma-separated; `cargo xtask bench` sets it. */
const SERVERS_VARIABLE = 'BENCH_SERVER_PIDS'

/** Starts when it is made. */
export class Measure {
  #ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
  #servers = (process.env[SERVERS_VARIABLE] ?? '').split(',').filter(Boolean)
  #serversStart = this.#serversSeconds()
  #clientStart = process.cpuUsage()
  #start = performance.now()

  /** One line of JSON; `latencies` in milliseconds, one per operation. */
  report(latencies) {
    const seconds = (performance.now() - this.#start) / 1000
    const { user, system } = process.cpuUsage(this.#clientStart)
    const servers = this.#serversSeconds() - this.#serversStart
    const ordered = latencies.toSorted()
    return JSON.stringify({
      operations: ordered.length,
      seconds,
      client_cpu_seconds: (user + system) / 1e6,
      servers_cpu_seconds: servers,
      p50_us: ordered[Math.floor(ordered.length / 2)] * 1000,
      p99_us: ordered[Math.floor((ordered.length * 99) / 100)] * 1000,
    })
  }

  #serversSeconds() {
    return this.#servers.reduce((sum, pid) => sum + ticks(pid), 0) / this.#ticksPerSecond
  }
}

/** User and system time, fields 14 and 15; the name in field 2 may hold blanks. */
function ticks(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

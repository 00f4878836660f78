// node xtask/demo/compare.mjs PACKAGE FILE URI
//
// Reads every record of a JSON Lines file back through the Node client, one call per key and a chunk of calls at the same
// time, and compares it byte for byte. The twin of compare_asyncio.py.

import { createReadStream } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

/** Records of a chunk, unless their values are large. */
const CHUNK_RECORDS = 2000
/** Bytes of values of a chunk. */
const CHUNK_BYTES = 16 << 20

const [folder, file, uri] = process.argv.slice(2)
const { connect } = createRequire(import.meta.url)(folder)

function bytes(fields, name) {
  const text = fields[name]
  return text === undefined ? Buffer.from(fields[`${name}_base64`], 'base64') : Buffer.from(text)
}

/** The records, in chunks bounded by count and by bytes. */
async function* chunks() {
  let [chunk, size] = [[], 0]
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    const fields = JSON.parse(line)
    if ('slotkv_export' in fields) continue
    const record = { key: bytes(fields, 'key'), value: bytes(fields, 'value') }
    chunk.push(record)
    size += record.value.length
    if (chunk.length === CHUNK_RECORDS || size >= CHUNK_BYTES) {
      yield chunk
      ;[chunk, size] = [[], 0]
    }
  }
  if (chunk.length > 0) yield chunk
}

const client = await connect(uri, { deadlineMs: 60_000 })
const tally = { records: 0, different: 0, seconds: 0 }
let done = 0
for await (const chunk of chunks()) {
  const start = performance.now()
  const values = await Promise.all(chunk.map(({ key }) => client.get(key)))
  tally.seconds += (performance.now() - start) / 1000
  chunk.forEach(({ value }, at) => {
    const found = values[at]
    if (found === null) return
    tally.records += 1
    tally.different += found.equals(value) ? 0 : 1
  })
  done += chunk.length
  console.log(JSON.stringify({ done }))
}
await client.close()
console.log(JSON.stringify(tally))

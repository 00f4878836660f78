// node examples/node/hello.mjs [URI]   (once: npm install in node/ and npm run build there; npm install in examples/node/)
//
// Put, get and delete, and what they answer.

import assert from 'node:assert/strict'

import { connect } from 'slotkv'

const client = await connect(process.argv[2] ?? 'slotkv://127.0.0.1:7700')
await client.delete('hello')

assert.equal((await client.put('hello', 'world')).status, 'created')
assert.equal((await client.put('hello', 'slotkv')).status, 'updated')

// Calls that run at the same time share frames; none waits for another.
const [hello, nobody] = await Promise.all([client.get('hello'), client.get('nobody')])
assert.deepEqual([String(hello), nobody], ['slotkv', null])

// A call that is given up is given up at the worker, too.
await assert.rejects(client.get('hello', { signal: AbortSignal.abort() }), { name: 'AbortError' })

assert.equal((await client.delete('hello')).status, 'deleted')
assert.equal((await client.delete('hello')).status, 'not_found')

await client.close()
console.log('hello: created, updated, read, deleted')

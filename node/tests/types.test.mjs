// The types say what is there, all of it and nothing else.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'

import * as slotkv from 'slotkv'

const types = readFileSync(new URL('../index.d.ts', import.meta.url), 'utf8')
const errors = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')

/** The names of a class's members in the types. */
function declared(name) {
  const body = types.slice(types.indexOf(`export class ${name} `))
  const members = body.slice(0, body.indexOf('\n}')).matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)
  return new Set([...members].map(([, member]) => member).filter((member) => member !== 'constructor'))
}

test('every export is declared and every declaration is exported, in both kinds of modules', () => {
  const found = [...types.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name)
  const exported = Object.keys(slotkv).sort()
  assert.deepEqual([...new Set(found)].sort(), exported)
  assert.deepEqual(Object.keys(createRequire(import.meta.url)('slotkv')).sort(), exported)
  assert.doesNotMatch(types, /\bany\b(?! )/)
})

test('clients and scans have the functions that are declared', () => {
  const functions = (made) =>
    Object.getOwnPropertyNames(made.prototype).filter((name) => name !== 'constructor').sort()
  assert.deepEqual(functions(slotkv.Client), [...declared('Client')].sort())
  assert.deepEqual(functions(slotkv.Scan), [...declared('Scan')].sort())
  assert.throws(() => new slotkv.Client(), TypeError)
})

test('every code of the table has a class, whose defaults are the table’s', () => {
  const { errorOf } = createRequire(import.meta.url)('../lib/errors.js')
  const rows = [...errors.matchAll(/^\| (\d+) \| `(\w+)` \| (\w+) \| (\w+) \|/gm)]
  assert.ok(rows.length >= 24)
  for (const [, number, kind, retry, applied] of rows) {
    const outcome = applied === 'no' ? 'failed' : 'unknown'
    const error = errorOf({ code: Number(number), kind, retry, outcome, message: 'text', retryable: false, member: null })
    assert.ok(types.includes(`export class ${error.name} extends`), kind)
    assert.ok(types.includes(`| '${kind}'`), kind)
    // Routing has three codes and the retry class of none in particular.
    if (error.name === 'RoutingError') continue
    const made = new slotkv[error.name]('text')
    assert.deepEqual([made.code, made.kind, made.retry, made.outcome], [Number(number), kind, retry, outcome])
  }
  const newer = errorOf({ code: 99, kind: 'NEWER', retry: 'ask', outcome: 'unknown', message: 'x', member: null })
  assert.deepEqual([newer.name, newer.code, newer.kind], ['UnexpectedError', 99, 'NEWER'])
})

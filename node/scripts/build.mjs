// npm run build [-- --debug] [-- CARGO_ARGUMENT...]: builds the addon of bindings/node and puts it where lib/native.js
// looks first. Arguments replace `--package slotkv-node`, for who builds more than it with the same features.

import { spawnSync } from 'node:child_process'
import { copyFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const { platform } = createRequire(import.meta.url)('../lib/platform.js')

const here = dirname(dirname(fileURLToPath(import.meta.url)))
const told = process.argv.slice(2)
const selection = told.filter((argument) => argument !== '--debug')

const cargo = ['build', '--message-format=json-render-diagnostics']
cargo.push(...(selection.length > 0 ? selection : ['--package', 'slotkv-node']))
if (!told.includes('--debug')) cargo.push('--release')
const built = spawnSync('cargo', cargo, {
  cwd: join(here, '..'),
  stdio: ['ignore', 'pipe', 'inherit'],
  encoding: 'utf8',
  maxBuffer: 1 << 28,
})
if (built.error) throw built.error
if (built.status !== 0) process.exit(built.status ?? 1)

const messages = built.stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line))
const artifact = messages.find(
  ({ reason, target }) => reason === 'compiler-artifact' && target.name === 'slotkv_node' && target.kind.includes('cdylib'),
)
if (!artifact) throw new Error('cargo reported no addon')
const addon = join(here, `slotkv.${platform()}.node`)
// Not over the old one: a process that has loaded it would crash.
copyFileSync(artifact.filenames[0], `${addon}.new`)
renameSync(`${addon}.new`, addon)
console.log(addon)

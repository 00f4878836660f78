// npm run pack -- FOLDER: the packages as they are published, packed into FOLDER.
//
// `slotkv` holds no addon. It has a package per platform as an optional dependency, of which npm installs the one that
// fits. Here those are made whose addons are built in this folder; the checked-in package.json does not name them, so
// that working on this tree asks no registry for them.

import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(dirname(fileURLToPath(import.meta.url)))
const [told] = process.argv.slice(2)
if (told === undefined) throw new Error('usage: npm run pack -- FOLDER')
const folder = resolve(told)

const json = (file) => JSON.parse(readFileSync(file, 'utf8'))
const own = json(join(here, 'package.json'))
const platforms = json(join(here, 'scripts/platforms.json'))

/** Writes a package's files and packs them. */
function pack(manifest, copy) {
  const staging = join(folder, manifest.name)
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(staging, { recursive: true })
  writeFileSync(join(staging, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  copyFileSync(join(here, '../LICENSE'), join(staging, 'LICENSE'))
  copy(staging)
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], { cwd: staging, encoding: 'utf8' })
  const [{ filename, unpackedSize }] = JSON.parse(packed)
  console.log(`${filename}: ${(unpackedSize / 1e6).toFixed(1)} MB installed`)
}

const { version, license, repository, engines } = own
for (const [platform, fits] of Object.entries(platforms)) {
  const addon = `slotkv.${platform}.node`
  if (!existsSync(join(here, addon))) continue
  const name = `slotkv-${platform}`
  const description = `The addon of slotkv for ${platform}`
  const manifest = { name, version, description, license, repository, engines, ...fits, main: addon, files: [addon] }
  pack(manifest, (staging) => {
    copyFileSync(join(here, addon), join(staging, addon))
    if (platform.startsWith('linux')) execFileSync('strip', ['--strip-unneeded', join(staging, addon)])
  })
}

const { scripts: _scripts, devDependencies: _tools, ...published } = own
published.optionalDependencies = Object.fromEntries(
  Object.keys(platforms).map((platform) => [`slotkv-${platform}`, version]),
)
pack(published, (staging) => {
  for (const file of own.files) cpSync(join(here, file), join(staging, file), { recursive: true })
})

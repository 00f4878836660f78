// What a driver is told, and how answers look as text: the twin of `src/step.rs` and `src/text.rs`.

const SHOWN_BYTES_MAX = 256

export class Step {
  constructor(line) {
    const [operation, ...words] = line.split(' ')
    this.operation = operation
    /** Buffers, bigints, and things of wrong types. */
    this.arguments = []
    this.options = new Map()
    /** The names of options that are of a wrong type, and '' if an argument is. */
    this.odd = new Set()
    for (const word of words) {
      const colon = word.indexOf(':')
      const [name, value] = [word.slice(0, Math.max(colon, 0)), word.slice(colon + 1)]
      if (value[0] === '!') this.odd.add(name)
      if (colon < 0) this.arguments.push(argument(value))
      else this.options.set(name, argument(value))
    }
  }

  /** A number as most options are; what is of a wrong type as it is. */
  option(name) {
    const value = this.options.get(name)
    return typeof value === 'bigint' && !this.odd.has(name) ? Number(value) : value
  }

  flag(name) {
    return this.odd.has(name) ? this.options.get(name) : this.options.get(name) === 1n
  }

  all() {
    return this.options.has('whole') ? this.options.get('whole') : this.arguments
  }
}

/** What stands for `!name`. */
const ODD = {
  none: null,
  number: 7,
  fraction: 1.5,
  nan: NaN,
  text: '7',
  flag: true,
  zero: 0,
  negative: -1,
  huge: 2n ** 64n,
  list: ['key'],
  object: {},
  broken_text: '\ud800',
}

function argument(word) {
  const rest = word.slice(1)
  switch (word[0]) {
    case '=':
      return Buffer.from(rest, 'hex')
    case '*': {
      const [byte, count] = rest.split('*')
      return Buffer.alloc(Number(count), Buffer.from(byte, 'hex'))
    }
    case '#':
      return BigInt(rest)
    case '!':
      if (Object.hasOwn(ODD, rest)) return ODD[rest]
      throw new Error(word)
    default:
      throw new Error(word)
  }
}

export function ofBytes(value) {
  if (value.length <= SHOWN_BYTES_MAX) return `=${value.toString('hex')}`
  return `~${value.length}:${crc32(value).toString(16).padStart(8, '0')}`
}

export const ofValue = (value) => (value === null ? 'none' : `value ${ofBytes(value)}`)

/** In hours, so that it is the same for all who ask within some minutes. */
const ofTtl = (ttlMs) => (ttlMs === null ? '' : ` ttl ${Math.round(ttlMs / 3_600_000)}`)

export const ofEntry = (entry) =>
  entry === null ? 'none' : `entry ${entry.version} ${ofBytes(entry.value)}${ofTtl(entry.ttlMs)}`

export const ofPut = (put) => `${put.status} ${put.version}`

export const ofDelete = ({ status, version }) => (status === 'not_found' ? status : `${status} ${version}`)

export const ofError = (error) => `error ${error.code} ${error.kind} ${error.outcome} ${error.retry}`

export const ofMany = (results) => `many[${results.join(';')}]`

export function ofItems(items, end) {
  const texts = items.map(
    ({ key, value, version, ttlMs }) => `${version} ${ofBytes(key)} ${ofBytes(value)}${ofTtl(ttlMs)}`,
  )
  return `items[${texts.join(';')}] ${end}`
}

// zlib.crc32 is younger than Node 20.
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte
  for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1
  return sum
})

function crc32(bytes) {
  let sum = 0xffffffff
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8)
  return (sum ^ 0xffffffff) >>> 0
}

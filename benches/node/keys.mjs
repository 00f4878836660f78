// The keys that the loads ask for: those which `slotkv bench` and redis-benchmark wrote.

/** Keys of one task; it goes round them, and memory stays small beside the million that exist. */
const KEYS_PER_TASK = 2_000

// `slotkv bench` spreads index over number so (server/daemon/src/bench/data.rs).
const SPREAD = 618_033_988_749_894_849n
const DIGITS = 12

/** A source of existing keys, uniform over all of them. */
export class Keys {
  #records
  #tags

  constructor(records, tags) {
    this.#records = records
    this.#tags = tags
  }

  /** Keys follow from their number; those of Redis begin with one of the three tags that redis-benchmark uses. */
  static async of(client, to, records) {
    return new Keys(records, client === 'slotkv' ? [] : await redisTags(Number(to)))
  }

  /** Keys for one task, the same for the same seed. */
  some(seed) {
    const chance = generator(seed)
    return Array.from({ length: KEYS_PER_TASK }, () => this.#key(Math.floor(chance() * this.#records)))
  }

  #key(number) {
    const tags = this.#tags
    if (tags.length > 0) {
      const digits = String(Math.floor(number / tags.length)).padStart(DIGITS, '0')
      return `${tags[number % tags.length]}${digits}`
    }
    const spread = (BigInt(number) * SPREAD) % 10n ** BigInt(DIGITS)
    return `user${String(spread).padStart(DIGITS, '0')}`
  }
}

/** The tag of each master, seen on any of its keys. */
async function redisTags(port) {
  const { Redis } = await import('ioredis')
  const cluster = new Redis.Cluster([{ host: '127.0.0.1', port }])
  await cluster.ping()
  const keys = await Promise.all(cluster.nodes('master').map((master) => master.randomkey()))
  await cluster.quit()
  return keys.map((key) => key.slice(0, 5))
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// Compiled, not run: what types programs see.

import {
  connect,
  setLogger,
  Client,
  DeadlineError,
  ManyError,
  SlotkvError,
  type ClusterStatus,
  type Delete,
  type Entry,
  type ErrorKind,
  type Explain,
  type Item,
  type Put,
  type Stats,
} from 'slotkv'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function is<A>() {
  return <B,>(value: B, same: Same<A, B>): void => void [value, same]
}

export async function use(uri: string, signal: AbortSignal): Promise<void> {
  await using client = await connect(uri, { namespace: 'n', deadlineMs: 250, streamsPerMember: 2, signal })
  is<Client>()(client, true)
  is<Buffer | null>()(await client.get('key'), true)
  is<Entry | null>()(await client.getEntry(new Uint8Array(1)), true)
  is<boolean>()(await client.has(Buffer.alloc(1), { deadlineMs: 1, signal }), true)
  is<Put>()(await client.put('key', 'value'), true)
  is<'created' | 'updated' | 'unmet'>()((await client.putIfAbsent('key', '')).status, true)
  is<Put>()(await client.updateIfPresent('key', ''), true)
  is<Put>()(await client.compareAndSet('key', '', 1n), true)
  is<Delete>()(await client.deleteIfVersion('key', 1), true)
  is<bigint>()(await client.increment('key', 1n), true)
  is<(Buffer | null)[]>()(await client.getMany(['key']), true)
  is<(Buffer | null | SlotkvError)[]>()(await client.getMany(new Set(['key']), { returnErrors: true }), true)
  is<Put[]>()(await client.putMany(new Map([['key', 'value']])), true)
  is<(Put | SlotkvError)[]>()(await client.putMany([['key', 'value']], { returnErrors: true }), true)
  is<Delete[]>()(await client.deleteMany(['key']), true)
  is<number>()(await client.count({ prefix: 'k' }), true)
  for await (const item of client.scan({ start: 'a', ordered: true, limit: 3 })) is<Item>()(item, true)
  is<Buffer | null>()(client.scan().cursor, true)
  is<Item[]>()(await client.dump(), true)
  is<Explain>()(client.explain('key'), true)
  is<Stats>()(client.stats(), true)
  is<ClusterStatus>()(await client.status(), true)
  is<Client>()(client.namespace('other').withDeadline(5).withTraceparent('x'), true)
  setLogger(({ level, message }) => console.log(level, message), { level: 'warn' })
  try {
    await client.get('key')
  } catch (error) {
    if (error instanceof DeadlineError) is<'failed' | 'unknown'>()(error.outcome, true)
    if (error instanceof SlotkvError) is<ErrorKind>()(error.kind, true)
    if (error instanceof ManyError) is<ReadonlyMap<number, SlotkvError>>()(error.errors, true)
  }
  // @ts-expect-error: a number is no key
  await client.get(5)
  // @ts-expect-error: made by connect
  new Client()
}

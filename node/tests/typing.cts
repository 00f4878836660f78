// Compiled, not run: the package as CommonJS sees it.

import slotkv = require('slotkv')

export async function use(uri: string): Promise<Buffer | null> {
  const client: slotkv.Client = await slotkv.connect(uri)
  return await client.get('key')
}

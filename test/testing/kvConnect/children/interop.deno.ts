/**
 * What Deno's client makes of entries that others wrote, and entries for others to read: `interop.deno.ts <url>`. Prints one line for each
 * entry it finds below "for deno", then writes below "from deno".
 */
import type { Kv, KvU64 } from "@deno/kv"

interface DenoKv {
  readonly args: ReadonlyArray<string>
  readonly openKv: (url: string) => Promise<Kv>
  readonly KvU64: new (value: bigint) => KvU64
}
const deno = (globalThis as unknown as { readonly Deno: DenoKv }).Deno

const show = (value: unknown): string => {
  if (value instanceof deno.KvU64) return `u64 ${value.value}`
  if (value instanceof Uint8Array) return `bytes ${Array.from(value).join()}`
  return `json ${JSON.stringify(value)}`
}

const kv = await deno.openKv(deno.args[0]!)
for await (const { key, value } of kv.list({ prefix: ["for deno"] })) console.log(`${String(key[1])}: ${show(value)}`)
await kv.set(["from deno", "bytes"], new Uint8Array([4, 5]))
await kv.set(["from deno", "u64"], new deno.KvU64(9n))
await kv.set(["from deno", "large u64"], new deno.KvU64(2n ** 63n) as never)
await kv.set(["from deno", "text"], "hello")
await kv.atomic().sum(["both"], 1n).commit()
kv.close()
console.log("end")

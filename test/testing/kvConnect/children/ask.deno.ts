/**
 * One thing through Deno's client: `ask.deno.ts <url> <what>`. Prints "open" when it is connected, and its answer as JSON.
 */
import type { Kv } from "@deno/kv"

interface DenoKv {
  readonly args: ReadonlyArray<string>
  readonly openKv: (url: string) => Promise<Kv>
}
const { args, openKv } = (globalThis as unknown as { readonly Deno: DenoKv }).Deno
const [url = "", what = ""] = args

const kv = await openKv(url)
console.log("open")
const asks: Readonly<Record<string, () => Promise<unknown>>> = {
  get: async () => (await kv.get(["k"])).value,
  set: async () => (await kv.set(["k"], "deno")).ok,
  sum: async () => (await kv.atomic().sum(["n"], 1n).commit()).ok,
  cas: async () =>
    (
      await kv
        .atomic()
        .check({ key: ["c"], versionstamp: null })
        .set(["c"], "deno")
        .commit()
    ).ok,
  sets: async () => {
    await Array.from({ length: 12 }, (_, i) => i).reduce(
      (before: Promise<unknown>, i) => before.then(() => kv.set(["sets", i], i)),
      Promise.resolve()
    )
    return "all"
  },
  // Every state of a key until it is "last".
  watch: async () => {
    const reader = kv.watch([["k"]]).getReader()
    const next = async (): Promise<unknown> => {
      const { value } = await reader.read()
      const seen = value?.[0]?.value ?? null
      console.log(`saw: ${JSON.stringify(seen)}`)
      return seen === "last" ? seen : next()
    }
    const last = await next()
    await reader.cancel()
    return last
  }
}
const answer = await asks[what]!().catch((error: unknown) => `error: ${String(error)}`)
console.log(`answer: ${JSON.stringify(answer)}`)
kv.close()

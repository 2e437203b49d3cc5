/**
 * Asks again and again through Deno's client until the entry ["stop"] is there: `steady.deno.ts <url>`. Prints a line whenever the answer
 * changes from good to bad or back.
 */
import type { Kv } from "@deno/kv"

interface DenoKv {
  readonly args: ReadonlyArray<string>
  readonly openKv: (url: string) => Promise<Kv>
}
const { args, openKv } = (globalThis as unknown as { readonly Deno: DenoKv }).Deno

const kv = await openKv(args[0]!)
let last = ""
const step = async (): Promise<void> => {
  const [line, stop] = await kv.get(["stop"]).then(
    ({ value }) => ["good", value === true] as const,
    (error: unknown) => [`bad ${String(error)}`, false] as const
  )
  if (line.slice(0, 4) !== last.slice(0, 4)) console.log(line)
  last = line
  if (stop) return
  await new Promise((resolve) => setTimeout(resolve, 100))
  await step()
}
await step()
kv.close()
console.log("end")

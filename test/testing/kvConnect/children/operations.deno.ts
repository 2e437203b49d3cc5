/** All operations through Deno's own client: `operations.deno.ts <url> <root>`. Prints one line for each: its name, and "ok" or the error. */
import { operations } from "../operations/all.ts"
import { each, type Subject } from "../operations/subject.ts"

interface DenoKv {
  readonly args: ReadonlyArray<string>
  readonly openKv: (url: string) => Promise<Subject["kv"]>
  readonly KvU64: Subject["KvU64"]
}
const { args, KvU64, openKv } = (globalThis as unknown as { readonly Deno: DenoKv }).Deno
const [url = "", root = ""] = args

const kv = await openKv(url)
const other = await openKv(url)
await each(operations.entries(), async ([i, { name, run }]) => {
  const result = await run({ runtime: "deno", kv, other, KvU64, root: `${root}${i}` }).then(
    () => "ok",
    (error: unknown) =>
      (error instanceof Error ? (error.stack ?? error.message) : String(error)).replaceAll("\n", " | ")
  )
  console.log(`${name}: ${result}`)
})
kv.close()
other.close()
console.log("end")

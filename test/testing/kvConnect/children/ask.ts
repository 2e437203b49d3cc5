/** Reads a counter through Node's client: `ask.ts <url> <name>`. */
import { KvU64, openKv } from "@deno/kv"
import { accessToken } from "../clients.ts"

const [url, name = ""] = process.argv.slice(2)
const kv = await openKv(url, { accessToken })
const { value } = await kv.get([name])
console.log(`answer: ${value instanceof KvU64 ? value.value : JSON.stringify(value)}`)
kv.close()

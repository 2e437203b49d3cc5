/**
 * A Deno program that knows nothing of gateways: a small shop in a Deno KV. Where that is kept is said by the URL it is started with.
 *
 *   DENO_KV_ACCESS_TOKEN=... deno run --unstable-kv --allow-net --allow-env examples/gateway/client.ts http://127.0.0.1:4512
 */
interface Article {
  readonly name: string
  readonly cents: number
  readonly left: number
}

const kv = await Deno.openKv(Deno.args[0])

await kv.set(["articles", "tea"], { name: "Tea", cents: 450, left: 3 } satisfies Article)
await kv.set(["articles", "cup"], { name: "Cup", cents: 990, left: 5 } satisfies Article)

/** One article less, the order, and the turnover: together or not at all, however many customers there are. */
const order = async (id: string, customer: string): Promise<string> => {
  const article = await kv.get<Article>(["articles", id])
  if (article.value === null || article.value.left === 0) return `${customer}: no ${id} left`
  const { ok } = await kv
    .atomic()
    .check(article)
    .set(article.key, { ...article.value, left: article.value.left - 1 })
    .set(["orders", id, customer], { at: new Date(), cents: article.value.cents })
    .sum(["turnover"], BigInt(article.value.cents))
    .commit()
  // Another customer was faster: look again.
  return ok ? `${customer}: ${id}` : order(id, customer)
}

const turnover = kv.watch<[Deno.KvU64]>([["turnover"]]).getReader()

const customers = ["ada", "bob", "cem", "dan", "eve"]
for (const line of await Promise.all(customers.map((customer) => order("tea", customer)))) console.log(line)

const orders: Array<string> = []
for await (const { key } of kv.list({ prefix: ["orders", "tea"] })) orders.push(String(key[2]))
console.log(`orders ${orders.length}`)

const next = async (): Promise<bigint> => {
  const { value } = await turnover.read()
  const cents = value?.[0].value?.value ?? 0n
  return cents < 3n * 450n ? next() : cents
}
console.log(`turnover ${await next()}`)
await turnover.cancel()

// Short-lived entries are gone to the moment, not within a minute as in a local Deno KV.
await kv.set(["sessions", "ada"], "here", { expireIn: 300 })
await new Promise((resolve) => setTimeout(resolve, 400))
console.log(`session ${(await kv.get(["sessions", "ada"])).value}`)

kv.close()

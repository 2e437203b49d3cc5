/**
 * The queue of the Redis room against BullMQ, on one server with the same settings, side by side in one process and in turn: what is printed
 * is the median of the rounds' ratios. Ours runs through the whole service (`Queue.define`, a worker), once as it comes, with a span for each
 * publish, process and settle, and once with `tracing: false`: BullMQ makes no spans unless it is told to. Both producers have 200
 * messages in flight, both workers run 50 handlers at a time; BullMQ removes what is done, as ours does.
 *
 *   cd bench && npm install && node redis.ts          SEAMS_BENCH=short for a quick run, REDIS_URL for a server of your own
 *
 * Starts a redis-server of its own (append-only file, synced every second) unless REDIS_URL is set. Exits with 1 when a goal is missed.
 */
/* oxlint-disable eslint/no-await-in-loop -- one after the other is what is measured */
import { Queue as BullQueue, Worker } from "bullmq"
import { Deferred, Effect, Schema } from "effect"
import { Redis as Client } from "ioredis"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as Redis from "../src/layers/redis/index.ts"
import * as Queue from "../src/Queue.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 3 : 7
const n = short ? 4_000 : 20_000
const goals = { enqueue: 3, process: 4, "enqueue one by one": 1, "addBulk 1,000": 2 } as const

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seams-bench-redis-"))
const port = await freePort()
const own = process.env["REDIS_URL"] === undefined
const server = own
  ? spawn(
      "redis-server",
      ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes"],
      { stdio: "ignore" }
    )
  : undefined
const url = process.env["REDIS_URL"] ?? `redis://127.0.0.1:${port}`
const admin = new Client(url, { maxRetriesPerRequest: null })
await admin.ping()

const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"
const Jobs = Queue.define("jobs", { payload: Schema.Struct({ n: Schema.Finite, text: Schema.String }) })

const atOnce = async (count: number, width: number, f: (i: number) => Promise<unknown>): Promise<void> => {
  let next = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await f(next++)
    })
  )
}

const timed = async (f: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await f()
  return performance.now() - start
}

const layers = {
  spans: Redis.layerQueue({ url, namespace: "bench" }),
  plain: Redis.layerQueue({ url, namespace: "bench", tracing: false })
}
let layer = layers.spans
const run = <A, E>(effect: Effect.Effect<A, E, Queue.Queue>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, layer))

const connection = { url, maxRetriesPerRequest: null }
const bull = new BullQueue("jobs", { connection, defaultJobOptions: { removeOnComplete: true } })
await bull.waitUntilReady()

const enqueueOurs = (count: number, width: number) =>
  Effect.gen(function* () {
    yield* Jobs.enqueue({ n: -1, text })
    const start = performance.now()
    yield* Effect.forEach(
      Array.from({ length: count }, (_, i) => i),
      (i) => Jobs.enqueue({ n: i, text }),
      { concurrency: width, discard: true }
    )
    return performance.now() - start
  })

const processOurs = (count: number) =>
  Effect.gen(function* () {
    const done = yield* Deferred.make<void>()
    let handled = 0
    const worker = Jobs.worker(() => (++handled === count ? Deferred.succeed(done, undefined) : Effect.void), {
      concurrency: 50
    })
    const start = performance.now()
    yield* Effect.provide(Deferred.await(done), worker)
    return performance.now() - start
  })

const processTheirs = (count: number) =>
  new Promise<number>((resolve) => {
    let handled = 0
    const start = performance.now()
    const worker = new Worker(
      "jobs",
      async () => {
        if (++handled === count) setImmediate(() => void worker.close().then(() => resolve(performance.now() - start)))
      },
      { connection, concurrency: 50 }
    )
  })

const fill = (count: number) => run(Jobs.enqueueAll(Array.from({ length: count }, (_, i) => ({ n: i, text }))))

const cases: Record<
  keyof typeof goals,
  { readonly n: number; ours: (n: number) => Promise<number>; theirs: (n: number) => Promise<number> }
> = {
  enqueue: {
    n,
    ours: (count) => run(enqueueOurs(count, 200)),
    theirs: (count) => timed(() => atOnce(count, 200, (i) => bull.add("job", { n: i, text })))
  },
  process: {
    n,
    ours: async (count) => {
      for (let i = 0; i < count; i += 1_000) await fill(1_000)
      return run(processOurs(count))
    },
    theirs: async (count) => {
      for (let i = 0; i < count; i += 1_000)
        await bull.addBulk(Array.from({ length: 1_000 }, (_, k) => ({ name: "job", data: { n: i + k, text } })))
      return processTheirs(count)
    }
  },
  "enqueue one by one": {
    n: n / 5,
    ours: (count) => run(enqueueOurs(count, 1)),
    theirs: (count) => timed(() => atOnce(count, 1, (i) => bull.add("job", { n: i, text })))
  },
  "addBulk 1,000": {
    n,
    ours: (count) =>
      run(
        Effect.gen(function* () {
          const start = performance.now()
          for (let i = 0; i < count; i += 1_000)
            yield* Jobs.enqueueAll(Array.from({ length: 1_000 }, (_, k) => ({ n: i + k, text })))
          return performance.now() - start
        })
      ),
    theirs: (count) =>
      timed(async () => {
        for (let i = 0; i < count; i += 1_000)
          await bull.addBulk(Array.from({ length: 1_000 }, (_, k) => ({ name: "job", data: { n: i + k, text } })))
      })
  }
}

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!

let missed = 0
for (const [name, one] of Object.entries(cases)) {
  const measured = { spans: [] as Array<number>, plain: [] as Array<number>, theirs: [] as Array<number> }
  for (let round = 0; round < rounds; round++) {
    for (const kind of ["spans", "plain"] as const) {
      layer = layers[kind]
      await admin.flushall()
      measured[kind].push(await one.ours(one.n))
    }
    await admin.flushall()
    measured.theirs.push(await one.theirs(one.n))
  }
  const ratio = (kind: "spans" | "plain") => median(measured.theirs.map((theirs, i) => theirs / measured[kind][i]!))
  const rate = (times: ReadonlyArray<number>) => `${Math.round((one.n / median(times)) * 1_000).toLocaleString("en")}/s`
  const goal = goals[name as keyof typeof goals]
  if (ratio("plain") < goal) missed++
  console.log(
    `${name.padEnd(20)} ${ratio("plain").toFixed(1)}x without spans, ${ratio("spans").toFixed(1)}x with (goal ${goal}x): ours ${rate(measured.plain)} and ${rate(measured.spans)}, BullMQ ${rate(measured.theirs)}`
  )
}
await bull.close()
admin.disconnect()
server?.kill("SIGKILL")
fs.rmSync(folder, { recursive: true, force: true })
process.exit(missed === 0 ? 0 : 1)

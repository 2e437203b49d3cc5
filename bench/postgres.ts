/**
 * The queue of the PostgreSQL room against graphile-worker (local queue, batched completion) and pg-boss, on one server, side by side in one
 * process and in turn: what is printed is the median of the rounds' ratios. Ours runs through the whole service (`Queue.define`, a
 * worker), once as it comes, with a span for each publish, process and settle, and once with `tracing: false`.
 *
 *   cd bench && npm install && node postgres.ts       SEAMS_BENCH=short for a quick run; DATABASE_URL names another server
 *
 * Needs a PostgreSQL server whose user may create databases (default: postgres://postgres@127.0.0.1:5432/postgres); makes a database of
 * its own there and drops it. Exits with 1 when a goal is missed.
 */
/* oxlint-disable eslint/no-await-in-loop -- one after the other is what is measured */
import { PgClient } from "@effect/sql-pg"
import { Deferred, Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
import { makeWorkerUtils, run as runGraphile } from "graphile-worker"
import { Pool } from "pg"
import { PgBoss } from "pg-boss"
import * as Postgres from "../src/layers/postgres/index.ts"
import * as Queue from "../src/Queue.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 3 : 7
const n = short ? 5_000 : 20_000

const admin = process.env["DATABASE_URL"] ?? "postgres://postgres@127.0.0.1:5432/postgres"
const database = `seams_bench_${process.pid}`
const url = new URL(admin)
url.pathname = `/${database}`
const sql = <A, E>(address: string, body: (client: PgClient.PgClient) => Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(
    Effect.flatMap(PgClient.PgClient, body).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(address) })))
  )
await sql(admin, (client) => client.unsafe(`CREATE DATABASE ${database}`))

const text = "a payload of about one hundred bytes, as most messages and most cache entries have it or have less"
const Jobs = Queue.define("jobs", { payload: Schema.Struct({ n: Schema.Finite, text: Schema.String }) })

/** Built once, as the rivals' pools are: no round pays for connections. */
const runtimes = {
  spans: ManagedRuntime.make(Postgres.layerQueue({ url: url.href })),
  plain: ManagedRuntime.make(Postgres.layerQueue({ url: url.href, tracing: false }))
}
type Kind = keyof typeof runtimes
const run = <A, E>(kind: Kind, effect: Effect.Effect<A, E, Queue.Queue>): Promise<A> =>
  runtimes[kind].runPromise(effect)

const batches = (count: number, size: number) =>
  Array.from({ length: Math.ceil(count / size) }, (_first, b) =>
    Array.from({ length: Math.min(size, count - b * size) }, (_second, i) => ({ n: b * size + i, text }))
  )

const timed = (f: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  return f().then(() => performance.now() - start)
}

const atOnce = async (count: number, width: number, f: (i: number) => Promise<unknown>): Promise<void> => {
  let next = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await f(next++)
    })
  )
}

const ours = {
  bulk: (kind: Kind, count: number) =>
    run(
      kind,
      Effect.gen(function* () {
        yield* Jobs.stats
        const all = batches(count, 1_000)
        const start = performance.now()
        for (const batch of all) yield* Jobs.enqueueAll(batch)
        return performance.now() - start
      })
    ),
  single: (kind: Kind, count: number, width: number) =>
    run(
      kind,
      Effect.gen(function* () {
        yield* Jobs.stats
        const start = performance.now()
        yield* Effect.forEach(
          Array.from({ length: count }, (_, i) => i),
          (i) => Jobs.enqueue({ n: i, text }),
          { concurrency: width, discard: true }
        )
        return performance.now() - start
      })
    ),
  process: (kind: Kind, count: number) =>
    run(
      kind,
      Effect.gen(function* () {
        for (const batch of batches(count, 1_000)) yield* Jobs.enqueueAll(batch)
        const done = yield* Deferred.make<void>()
        let handled = 0
        const worker = Jobs.worker(() => (++handled === count ? Deferred.succeed(done, undefined) : Effect.void), {
          concurrency: 50
        })
        const start = performance.now()
        yield* Effect.provide(Deferred.await(done), worker)
        return performance.now() - start
      })
    )
}

const pool = new Pool({ connectionString: url.href, max: 10 })
const utils = await makeWorkerUtils({ pgPool: pool })
await utils.migrate()
const silent = { log: () => undefined }
const { Logger } = await import("graphile-worker")
const logger = new Logger(() => silent.log)
const graphile = {
  bulk: async (count: number) => {
    const all = batches(count, 1_000)
    return timed(async () => {
      for (const batch of all) await utils.addJobs(batch.map((payload) => ({ identifier: "job", payload })))
    })
  },
  single: (count: number, width: number) =>
    timed(() => atOnce(count, width, (i) => utils.addJob("job", { n: i, text }))),
  process: async (count: number) => {
    await graphile.bulk(count)
    let handled = 0
    let finish: () => void
    const done = new Promise<void>((resolve) => {
      finish = resolve
    })
    const start = performance.now()
    const runner = await runGraphile({
      pgPool: pool,
      logger,
      noHandleSignals: true,
      concurrency: 50,
      taskList: { job: () => void (++handled === count && finish()) },
      preset: {
        worker: { concurrentJobs: 50, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
      }
    })
    await done
    const took = performance.now() - start
    await runner.stop()
    return took
  }
}

const boss = new PgBoss({ connectionString: url.href, max: 10, supervise: false, schedule: false })
boss.on("error", () => undefined)
await boss.start()
await boss.createQueue("job")
const pgboss = {
  bulk: async (count: number) => {
    const all = batches(count, 1_000)
    return timed(async () => {
      for (const batch of all)
        await boss.insert(
          "job",
          batch.map((data) => ({ data }))
        )
    })
  },
  single: (count: number, width: number) => timed(() => atOnce(count, width, (i) => boss.send("job", { n: i, text }))),
  process: async (count: number) => {
    await pgboss.bulk(count)
    return timed(async () => {
      let handled = 0
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          while (handled < count) {
            const jobs = await boss.fetch("job", { batchSize: 500 })
            if (jobs.length === 0) continue
            handled += jobs.length
            await boss.complete(
              "job",
              jobs.map(({ id }) => id)
            )
          }
        })
      )
    })
  }
}

const empty = () =>
  sql(url.href, (client) =>
    Effect.gen(function* () {
      for (const table of ["fresh", "message", "claimed", "lease", "dead", "seen_0", "seen_1", "seen_2"])
        yield* Effect.ignore(client.unsafe(`TRUNCATE seams.${table}`))
      yield* client.unsafe("TRUNCATE graphile_worker._private_jobs")
      yield* client.unsafe("DELETE FROM pgboss.job")
      yield* client.unsafe("VACUUM ANALYZE")
      yield* client.unsafe("CHECKPOINT")
    })
  )

const cases = {
  "bulk enqueue, 1,000 at once": {
    goal: 2,
    n: n * 2,
    ours: ours.bulk,
    theirs: { graphile: graphile.bulk, pgboss: pgboss.bulk }
  },
  "enqueue, 200 in flight": {
    goal: 1,
    n: n / 2,
    ours: (kind: Kind, count: number) => ours.single(kind, count, 200),
    theirs: {
      graphile: (count: number) => graphile.single(count, 200),
      pgboss: (count: number) => pgboss.single(count, 200)
    }
  },
  "enqueue one by one": {
    goal: 1,
    n: n / 20,
    ours: (kind: Kind, count: number) => ours.single(kind, count, 1),
    theirs: {
      graphile: (count: number) => graphile.single(count, 1),
      pgboss: (count: number) => pgboss.single(count, 1)
    }
  },
  "process, 50 at a time": {
    goal: 2,
    n,
    ours: ours.process,
    theirs: { graphile: graphile.process, pgboss: pgboss.process }
  }
} as const

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!
let missed = 0
for (const [name, one] of Object.entries(cases)) {
  if (process.env["SEAMS_BENCH_ONLY"] !== undefined && !name.includes(process.env["SEAMS_BENCH_ONLY"])) continue
  const times = {
    spans: [] as Array<number>,
    plain: [] as Array<number>,
    graphile: [] as Array<number>,
    pgboss: [] as Array<number>
  }
  for (let round = 0; round < rounds; round++) {
    await empty()
    times.plain.push(await one.ours("plain", one.n))
    await empty()
    times.spans.push(await one.ours("spans", one.n))
    await empty()
    times.graphile.push(await one.theirs.graphile(one.n))
    await empty()
    times.pgboss.push(await one.theirs.pgboss(one.n))
  }
  const ratio = (kind: Kind, rival: "graphile" | "pgboss") =>
    `${median(times[rival].map((theirs, i) => theirs / times[kind][i]!)).toFixed(1)}x`
  const rate = (of: keyof typeof times) => `${Math.round((one.n / median(times[of])) * 1_000).toLocaleString("en")}/s`
  if (median(times.graphile.map((theirs, i) => theirs / times.plain[i]!)) < one.goal) missed++
  console.log(
    `${name.padEnd(28)} ours ${rate("plain")} without spans, ${rate("spans")} with; graphile-worker ${rate("graphile")} (${ratio("plain", "graphile")}, ${ratio("spans", "graphile")}; goal ${one.goal}x); pg-boss ${rate("pgboss")} (${ratio("plain", "pgboss")}, ${ratio("spans", "pgboss")})`
  )
}
/** Two producers and a worker for some seconds, while another connection holds a snapshot open or not: messages per second of the last half. */
const steady = (held: boolean, seconds: number): Promise<number> =>
  Effect.runPromise(
    Effect.gen(function* () {
      if (held) {
        const client = yield* PgClient.PgClient
        const opened = yield* Deferred.make<void>()
        yield* Effect.forkScoped(
          client.withTransaction(
            Effect.gen(function* () {
              yield* client.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
              yield* client.unsafe("SELECT pg_current_xact_id()::text")
              yield* Deferred.succeed(opened, undefined)
              yield* Effect.never
            })
          )
        )
        yield* Deferred.await(opened)
      }
      let handled = 0
      let enqueued = 0
      const [batch] = batches(500, 500)
      const produce = Effect.forever(
        Effect.suspend(() => {
          if (enqueued - handled > 10_000) return Effect.sleep(2)
          enqueued += 500
          return Effect.asVoid(Jobs.enqueueAll(batch!))
        })
      )
      yield* Effect.forkScoped(Effect.all([produce, produce], { concurrency: 2 }))
      yield* Layer.build(Jobs.worker(() => Effect.sync(() => void handled++), { concurrency: 100 }))
      yield* Effect.sleep(seconds * 500)
      const before = handled
      yield* Effect.sleep(seconds * 500)
      return (handled - before) / (seconds / 2)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.merge(
          Postgres.layerQueue({ url: url.href, tracing: false }),
          PgClient.layer({ url: Redacted.make(url.href) })
        )
      )
    )
  )

/** From `enqueue` in one process's layer to the start of the handler in another's, while nothing else happens. */
const latency = (times: number): Promise<ReadonlyArray<number>> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const taken: Array<number> = []
      let begun = 0
      let started = Deferred.makeUnsafe<void>()
      const worker = Jobs.worker(() => {
        taken.push(performance.now() - begun)
        return Deferred.succeed(started, undefined)
      })
      yield* Layer.build(Layer.provide(worker, Layer.fresh(Postgres.layerQueue({ url: url.href, tracing: false }))))
      for (let i = 0; i < times; i++) {
        yield* Effect.sleep(50)
        started = Deferred.makeUnsafe<void>()
        begun = performance.now()
        yield* Jobs.enqueue({ n: i, text })
        yield* Deferred.await(started)
      }
      return taken.toSorted((x, y) => x - y)
    }).pipe(Effect.scoped, Effect.provide(Postgres.layerQueue({ url: url.href, tracing: false })))
  )

if (process.env["SEAMS_BENCH_ONLY"] === undefined) {
  await empty()
  const took = await latency(short ? 50 : 200)
  const p50 = took[took.length >> 1]!
  if (p50 > 3) missed++
  console.log(
    `enqueue to start in another process, idle: p50 ${p50.toFixed(1)} ms, p99 ${took[Math.floor(took.length * 0.99)]!.toFixed(1)} ms (goal p50 3 ms)`
  )
  const seconds = short ? 10 : 40
  await empty()
  const free = await steady(false, seconds)
  await empty()
  const held = await steady(true, seconds)
  if (held / free < 0.5) missed++
  console.log(
    `steady state of ${seconds} s: ${Math.round(free).toLocaleString("en")}/s, and ${Math.round(held).toLocaleString("en")}/s while another connection holds a snapshot open: ${(held / free).toFixed(2)} of it (goal 0.5)`
  )
}
await runtimes.spans.dispose()
await runtimes.plain.dispose()
await boss.stop({ graceful: false })
await utils.release()
await pool.end().catch(() => undefined)
await sql(admin, (client) => client.unsafe(`DROP DATABASE ${database} WITH (FORCE)`))
process.exit(missed === 0 ? 0 : 1)

/** Behind PgBouncer in transaction mode, where every statement may find itself in another session. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, References } from "effect"
import type * as Postgres from "../../../src/layers/postgres/index.ts"
import { startPgbouncer, startServer } from "../../servers/index.ts"
import { once, percentile, until } from "../../support/faults.ts"
import { load } from "./loadFaults.ts"
import { freshSchema } from "./support.ts"
import { Jobs, queueOver } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const pooled = once(
  Effect.gen(function* () {
    const server = yield* startServer("postgres")
    return { server, pooler: yield* startPgbouncer(server) }
  })
)

/** A test that says so when there is no PgBouncer. */
const behind = (
  name: string,
  body: (pooler: string, direct: string) => Effect.Effect<void, unknown, Effect.Services<ReturnType<typeof queueOver>>>
) =>
  it.live(name, (context) =>
    Effect.gen(function* () {
      const { pooler, server } = yield* pooled
      if (pooler === undefined) return context.skip("PgBouncer is not installed: apt-get install pgbouncer")
      yield* body(pooler.url, server.url)
    }).pipe(quiet)
  )

/** How long a message of another layer takes to an idle worker. */
const latencies = (options: Postgres.ConnectionOptions, times: number) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const [worker, producer] = [yield* queueOver({ ...options, schema }), yield* queueOver({ ...options, schema })]
    const begun = new Map<number, number>()
    yield* Effect.provide(
      Layer.build(Jobs.worker((n) => Effect.sync(() => void begun.set(n, performance.now())))),
      worker
    )
    const waits: Array<number> = []
    for (let n = 0; n < times; n++) {
      // Somewhere between two looks of the worker.
      yield* Effect.sleep(13 * (n % 10))
      const sent = performance.now()
      yield* Effect.provide(Jobs.enqueue(n), producer)
      yield* until("it has begun", () => begun.has(n))
      waits.push(begun.get(n)! - sent)
    }
    const text = `p50 ${percentile(waits, 0.5).toFixed(1)} ms, longest ${Math.max(...waits).toFixed(1)} ms`
    return { waits, text }
  })

describe("behind PgBouncer in transaction mode", () => {
  behind("a layer that polls works, under load too", (url) =>
    Effect.gen(function* () {
      const options = { url, schema: freshSchema(), listen: false, prepare: false } as const
      const running = yield* load({ rooms: [yield* queueOver(options), yield* queueOver(options)] })
      yield* until("messages are handled", () => running.handled() > 500)
      yield* running.end("behind PgBouncer")
      const { text, waits } = yield* latencies({ url, listen: false, prepare: false }, 10)
      console.log(`from the enqueue to the start, by polling: ${text}`)
      assert.isBelow(Math.max(...waits), 1_000)
    })
  )

  behind("a layer that listens at the direct address is woken at once", (url, direct) =>
    Effect.gen(function* () {
      const { text, waits } = yield* latencies({ url, listen: direct, prepare: false }, 20)
      console.log(`from the enqueue to the start, by a direct listener: ${text}`)
      assert.isBelow(percentile(waits, 0.5), 50)
    })
  )

  behind("a layer whose listener hears nothing finds that out, and polls", (url) =>
    Effect.gen(function* () {
      const { text, waits } = yield* latencies({ url, prepare: false }, 5)
      console.log(`from the enqueue to the start, with a listener that hears nothing: ${text}`)
      assert.isBelow(Math.max(...waits), 1_000)
    })
  )

  behind("statements may be prepared: those that another session does not know are sent whole", (url) =>
    Effect.gen(function* () {
      const options = { url, schema: freshSchema(), listen: false } as const
      const running = yield* load({ rooms: [yield* queueOver(options), yield* queueOver(options)] })
      yield* until("messages are handled", () => running.handled() > 300)
      yield* running.end("behind PgBouncer, with prepared statements")
    })
  )
})

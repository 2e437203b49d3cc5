/** Closing leaves nothing behind: no session at the server, nothing that keeps a process alive. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, References, Scope } from "effect"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { startServer } from "../../servers/index.ts"
import { faultProxy } from "../../support/faultProxy.ts"
import { once, reasonOf, timed, until } from "../../support/faults.ts"
import { startProcess } from "../../support/processes.ts"
import { freshSchema } from "./support.ts"
import { clientOf, handling, impatient, Jobs, listener, place, sessionsOf } from "./supportFaults.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

const gone = (admin: Parameters<typeof sessionsOf>[0], name: string) =>
  until(
    "the sessions are gone",
    Effect.map(sessionsOf(admin, name), (n) => n === 0),
    "1 second"
  )

describe("a closed layer", () => {
  it.live("has no session at the server, and what is asked of it then fails at once", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      for (let i = 0; i < 3; i++) {
        const scope = yield* Scope.make()
        const layer = Postgres.layerQueue({ url, schema, applicationName: schema, tracing: false })
        const context = yield* Scope.provide(Layer.build(Layer.fresh(layer)), scope)
        yield* Effect.gen(function* () {
          yield* Scope.provide(Layer.build(Jobs.worker(() => Effect.void)), scope)
          yield* Effect.forEach(
            Array.from({ length: 20 }, (_, n) => n),
            (n) => Jobs.enqueue(n),
            { concurrency: "unbounded" }
          )
          yield* Jobs.awaitIdle
        }).pipe(Effect.provide(context))
        assert.isAbove(yield* sessionsOf(admin, schema), 1)
        yield* Scope.close(scope, Exit.void)
        yield* gone(admin, schema)
        for (const call of [Jobs.pause, Effect.asVoid(Jobs.stats)]) {
          const reason = yield* reasonOf("a call", 500, Effect.provide(call, context))
          assert.deepStrictEqual([reason._tag, reason.lasting], ["Unavailable", true])
        }
        const late = yield* reasonOf("a message", 500, Effect.provide(Jobs.offer(1), context))
        assert.deepStrictEqual([late._tag, late.lasting], ["Unavailable", true])
      }
    }).pipe(quiet)
  )

  it.live("that could not be built has none either, however often it is tried", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      for (let i = 0; i < 5; i++)
        yield* Effect.flip(
          Layer.build(
            Layer.fresh(Postgres.layerQueue({ url, schema, migrate: "check", applicationName: schema, listen: url }))
          ).pipe(Effect.scoped)
        )
      yield* gone(admin, schema)
    }).pipe(quiet)
  )

  it.live("that is interrupted while it is built has none", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      // Others are migrating for as long as this transaction is open.
      const locker = yield* clientOf(url)
      yield* locker
        .withTransaction(
          Effect.gen(function* () {
            yield* locker.unsafe("SELECT pg_advisory_xact_lock(hashtextextended('effect-seams/migrate', 0))")
            const fiber = yield* Effect.forkChild(
              Effect.scoped(Layer.build(Layer.fresh(Postgres.layerQueue({ url, schema, applicationName: schema }))))
            )
            yield* until(
              "it waits",
              Effect.map(sessionsOf(admin, schema), (n) => n > 0)
            )
            const { millis } = yield* timed("the interruption", 2_000, Fiber.interrupt(fiber))
            assert.isBelow(millis, 1_000)
            yield* gone(admin, schema)
          })
        )
        .pipe(Effect.orDie)
    }).pipe(quiet)
  )

  it.live("over the program's client leaves that as it was", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const client = yield* clientOf(url, 2)
      for (let i = 0; i < 3; i++)
        yield* Effect.gen(function* () {
          const handled = yield* handling()
          yield* Jobs.enqueue(i)
          yield* until("the job is done", () => handled.length === 1)
        }).pipe(
          Effect.scoped,
          Effect.provide(
            Layer.provide(
              Postgres.layerQueueConnected(),
              Layer.effect(Postgres.Connection, Postgres.makeConnectionFrom(client, { schema }))
            )
          )
        )
      // No session of the client's listens any more, and both are free.
      const both = Effect.all([client.unsafe("SELECT pg_sleep(0.2)"), client.unsafe("SELECT pg_sleep(0.2)")], {
        concurrency: 2
      })
      const { millis } = yield* timed("two statements at once", 3_000, both)
      assert.isBelow(millis, 390)
      const [listening] = yield* client.unsafe("SELECT count(*)::int AS n FROM pg_listening_channels()")
      assert.deepStrictEqual(listening, { n: 0 })
      assert.isAtLeast(yield* sessionsOf(admin, "test"), 1)
    }).pipe(quiet)
  )

  it.live("gives back what a worker in the same scope had claimed, also when its connections are gone", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const scope = yield* Scope.make()
      yield* Effect.gen(function* () {
        const options = { url, schema, applicationName: schema, commandTimeout: "2 seconds" } as const
        const connection = yield* Postgres.makeConnection(options)
        const queue = yield* Effect.flatMap(Postgres.makeQueueDriver(connection), (driver) => Queue.make(driver))
        const begun: Array<number> = []
        yield* Effect.gen(function* () {
          yield* Layer.build(
            Jobs.worker(
              (n) =>
                Effect.andThen(
                  Effect.sync(() => void begun.push(n)),
                  Effect.never
                ),
              { drain: 0 }
            )
          )
          yield* Jobs.enqueue(1)
          yield* until("the handler runs", () => begun.length === 1)
        }).pipe(Effect.provideService(Queue.Queue, queue))
        yield* admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", [schema])
        yield* until(
          "they are gone",
          Effect.map(sessionsOf(admin, schema), (n) => n <= 1)
        )
      }).pipe(Scope.provide(scope))
      const { millis } = yield* timed("closing", 3_000, Scope.close(scope, Exit.void))
      assert.isBelow(millis, 1_500)
      const rows = yield* admin(
        `SELECT (SELECT count(*)::int FROM "${schema}".message) AS waiting, (SELECT count(*)::int FROM "${schema}".claimed) AS claimed`
      )
      assert.deepStrictEqual(rows[0], { waiting: 1, claimed: 0 })
      yield* gone(admin, schema)
    }).pipe(quiet)
  )
})

const leaver = (options: object, wait = "") =>
  startProcess("node", "test/layers/postgres/children/leave.ts", [JSON.stringify(options), wait])

type Leaver = Effect.Success<ReturnType<typeof leaver>>

/** It ends by itself soon after this word. What keeps a process alive does so for 2 seconds and more. */
const leaves = (child: Leaver, word: string, limit = 1_900) =>
  Effect.gen(function* () {
    yield* child.line(word)
    const start = performance.now()
    const { result } = yield* timed("the end of the process", 20_000, child.exit)
    const millis = Math.round(performance.now() - start)
    assert.deepStrictEqual(
      [result._tag === "Success" && result.success, child.errors()],
      [0, ""],
      child.lines.join("\n")
    )
    assert.isBelow(millis, limit, `it took ${millis} ms to end: ${child.lines.join(", ")}`)
    return millis
  })

const server = once(startServer("postgres"))

describe("a process ends by itself", () => {
  it.live("when it has used and closed a layer", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      for (const options of [{}, { listen: false }, { listen: url }]) {
        const child = yield* leaver({ url, schema: freshSchema(), ...options })
        yield* child.line("used")
        const millis = yield* leaves(child, "closing")
        console.log(`${JSON.stringify(options)}: the process ended ${millis} ms after it closed the layer`)
      }
    }).pipe(quiet)
  )

  it.live("when the layer could not be built: nobody there, no answer, no schema", () =>
    Effect.gen(function* () {
      const { url } = yield* server
      const silent = yield* listener(() => undefined)
      const kinds = {
        "nobody there": { port: 9 },
        "no answer": { port: silent, connectTimeout: 500 },
        "no schema": { url, schema: "none", migrate: "check" },
        "no login": { url: url.replace("postgres@", "nobody@") }
      }
      for (const [kind, options] of Object.entries(kinds)) {
        const child = yield* leaver(options)
        const millis = yield* leaves(child, "failed")
        console.log(`${kind}: ${child.lines.join(", ")}; the process ended ${millis} ms later`)
      }
    }).pipe(quiet)
  )

  for (const how of ["frozen", "gone", "behind a dead line"] as const)
    it.live(`when it closes the layer while the server is ${how}`, () =>
      Effect.gen(function* () {
        const one = how === "behind a dead line" ? yield* server : yield* startServer("postgres")
        const proxy = yield* faultProxy(one.port)
        const child = yield* leaver({ ...impatient, url: proxy.through(one.url), schema: freshSchema() }, "wait")
        yield* child.line("used")
        if (how === "frozen") yield* one.pause
        if (how === "behind a dead line") yield* proxy.stall
        if (how === "gone") {
          yield* one.kill
          // It tries to connect meanwhile.
          yield* Effect.sleep("700 millis")
        }
        yield* child.send("go")
        const millis = yield* leaves(child, "closing")
        console.log(`${how}: the process ended ${millis} ms after it began to close: ${child.lines.join(", ")}`)
        if (how === "frozen") yield* one.resume
      }).pipe(quiet)
    )
})

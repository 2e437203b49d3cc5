/** What `probeTimeout` bounds: connecting and the first answers, whatever a server does, and not the making of a schema. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Result, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Discovery from "../../src/Discovery.ts"
import { withDeadline } from "../../src/discovery/deadline.ts"
import * as Kv from "../../src/Kv.ts"
import { clientOf, listener, place } from "../layers/postgres/supportFaults.ts"
import { timed } from "../support/faults.ts"
import { within } from "./support.ts"

/** Opens at some time, and takes its time to close. */
const opening = (millis: number, closing: number) =>
  Effect.sync(() => {
    const state = { now: "opening" }
    const close = Effect.andThen(
      Effect.sleep(closing),
      Effect.sync(() => void (state.now = "closed"))
    )
    const open = Effect.gen(function* () {
      yield* Effect.addFinalizer(() => close)
      yield* Effect.sleep(millis)
      state.now = "open"
      return state
    })
    return { open, state }
  })

const inTime = withDeadline(Effect.succeed("at once"), 1_000, () => "late")

describe("a deadline for what is opened", () => {
  it.effect("is met though closing takes longer, which goes on in the background", () =>
    Effect.gen(function* () {
      const { open, state } = yield* opening(5_000, 5_000)
      const fiber = yield* Effect.forkChild(Effect.flip(Effect.scoped(withDeadline(open, 1_000, () => "late"))))
      yield* TestClock.adjust(999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(fiber), "late")
      assert.strictEqual(state.now, "opening")
      yield* TestClock.adjust(5_000)
      assert.strictEqual(state.now, "closed")
    })
  )

  it.effect("leaves what is open in time to the scope of whoever asked", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Effect.scoped(inTime), "at once")
      const { open, state } = yield* opening(500, 0)
      const scope = yield* Scope.make()
      const fiber = yield* Effect.forkChild(
        Scope.provide(
          withDeadline(open, 1_000, () => "late"),
          scope
        )
      )
      yield* TestClock.adjust(500)
      yield* Fiber.join(fiber)
      yield* TestClock.adjust(5_000)
      assert.strictEqual(state.now, "open")
      yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust(1)
      assert.strictEqual(state.now, "closed")
    })
  )

  it.effect("closes what failed, and what was interrupted, before it answers", () =>
    Effect.gen(function* () {
      for (const how of ["fail", "interrupt"] as const) {
        const { open, state } = yield* opening(500, 100)
        const failing = how === "fail" ? Effect.andThen(open, Effect.fail("no")) : open
        const fiber = yield* Effect.forkChild(Effect.scoped(withDeadline(failing, 1_000, () => "late")), {
          startImmediately: true
        })
        yield* TestClock.adjust(how === "fail" ? 500 : 200)
        if (how === "interrupt") fiber.interruptUnsafe()
        yield* TestClock.adjust(99)
        assert.isUndefined(fiber.pollUnsafe(), how)
        yield* TestClock.adjust(1)
        assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        assert.strictEqual(state.now, "closed")
      }
    })
  )
})

const postgres = (url: string) => within({ CACHE_PROVIDER: "postgres", DATABASE_URL: url })
const building = (schema: string, probeTimeout: number) =>
  Layer.build(Discovery.layerKvWith({ probeTimeout, postgres: { schema } }))

/** For what a busy machine needs beside. */
const slack = 2_000

const assertLate = (
  result: Result.Result<Discovery.DiscoveryError, unknown>,
  millis: number,
  probeTimeout: number
): void => {
  if (Result.isFailure(result)) return assert.fail(String(result.failure))
  assert.strictEqual(result.success.reason._tag, "Unreachable")
  assert.include(result.success.message, "probeTimeout", "discovery said so, not the room")
  assert.isAtLeast(millis, probeTimeout - 1)
  assert.isBelow(millis, probeTimeout + slack)
}

/** Another session is in a transaction that has done this, until the test lets go. */
const held = (url: string, statement: string) =>
  Effect.gen(function* () {
    const client = yield* clientOf(url)
    const [holding, release] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const fiber = yield* Effect.forkChild(
      client.withTransaction(
        Effect.gen(function* () {
          yield* client.unsafe(statement)
          yield* Deferred.succeed(holding, undefined)
          yield* Deferred.await(release)
        })
      )
    )
    yield* Deferred.await(holding)
    return { letGo: Effect.andThen(Deferred.succeed(release, undefined), Fiber.join(fiber)) }
  })

describe("probeTimeout and PostgreSQL", () => {
  it.live("a listener that never answers: not a moment of farewell beside", () =>
    Effect.gen(function* () {
      const port = yield* listener(() => undefined)
      const probeTimeout = 500
      const failing = Effect.flip(Effect.scoped(building("seams", probeTimeout)))
      const { millis, result } = yield* timed(
        "the failure",
        20_000,
        failing.pipe(postgres(`postgres://u:p@127.0.0.1:${port}/x`))
      )
      // The room alone says so after 400 ms and half a second to take leave.
      assertLate(result, millis, probeTimeout)
    })
  )

  it.live("does not bound the making of the schema, nor the wait for another who makes his", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const { letGo } = yield* held(url, "SELECT pg_advisory_xact_lock(hashtextextended('effect-seams/migrate', 0))")
      const probeTimeout = 1_000
      const fiber = yield* Effect.forkChild(
        Effect.flatMap(building(schema, probeTimeout), (context) =>
          Effect.provide(
            Kv.Kv.use((kv) => kv.set(["k"], 1)),
            context
          )
        ).pipe(postgres(url))
      )
      yield* Effect.sleep(2 * probeTimeout)
      assert.isUndefined(fiber.pollUnsafe(), "it waits")
      yield* letGo
      yield* Fiber.join(fiber)
      const [row] = yield* admin(`SELECT count(*)::int AS n FROM "${schema}".meta`)
      assert.strictEqual(row?.["n"], 1)
    }).pipe(Effect.scoped)
  )

  it.live("bounds the first answers of a server that has connected, also where the schema is ready", () =>
    Effect.gen(function* () {
      const { schema, url } = yield* place
      yield* Effect.scoped(building(schema, 5_000)).pipe(postgres(url))
      const { letGo } = yield* held(url, `LOCK TABLE "${schema}".meta IN ACCESS EXCLUSIVE MODE`)
      const probeTimeout = 1_000
      const failing = Effect.flip(Effect.scoped(building(schema, probeTimeout))).pipe(postgres(url))
      const { millis, result } = yield* timed("the failure", 20_000, failing)
      // The room alone waits for as long as a command may take.
      assertLate(result, millis, probeTimeout)
      yield* letGo
      yield* Effect.scoped(building(schema, 5_000)).pipe(postgres(url))
    }).pipe(Effect.scoped)
  )
})

import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Kv from "../Kv.ts"
import { failsWith, failureOf, leftOver, type PatternCase, type PatternCases, successOf } from "./kvPatternsSupport.ts"

class Down extends Schema.TaggedError<Down>()("Down", {}) {}

const room = "~effect-seams/lock"

/** Waits until that many stand in line. */
const inLine = (c: PatternCase, n: number) =>
  c.settle(
    Effect.gen(function* () {
      for (let i = 0; i < 2_000; i++) {
        const keys = yield* leftOver(c.two, room, c.root)
        if (keys.filter((key) => key[1] === "line").length === n) return
        yield* Effect.sleep(5)
      }
      assert.fail(`${n} did not come to stand in line`)
    })
  )

/** Holds the lock on a client until the gate opens. */
const holder = (c: PatternCase, kv: Kv.Service, gate: Deferred.Deferred<void>) =>
  Effect.gen(function* () {
    let held: Kv.Lock | undefined
    const fiber = yield* c.beside(
      kv,
      Kv.withLock(c.key("a"), { lease: c.lease })((lock) => {
        held = lock
        return Deferred.await(gate)
      })
    )
    yield* c.until("the lock", () => held !== undefined)
    return { fiber, lock: held! }
  })

export const lockCases = (test: PatternCases): void => {
  describe("withLock", () => {
    test("lets one run at a time, in both processes, with tokens that grow", (c) =>
      Effect.gen(function* () {
        let inside = 0
        let most = 0
        const tokens: Array<bigint> = []
        const work = (i: number) =>
          Kv.withLock(c.key("a"), { lease: c.lease })((lock) =>
            Effect.gen(function* () {
              most = Math.max(most, ++inside)
              tokens.push(lock.token)
              yield* Effect.sleep(i % 3)
              yield* Kv.atomic([lock.check, Kv.sum(c.key("count"), 1n)])
              inside--
              return i
            })
          )
        const fibers = yield* Effect.forEach(Array.from({ length: 30 }), (_, i) =>
          c.beside(i % 2 === 0 ? c.one : c.two, work(i))
        )
        for (const [i, fiber] of fibers.entries()) assert.strictEqual(successOf(yield* c.end(fiber)), i)
        assert.strictEqual(most, 1)
        assert.strictEqual(tokens.length, 30)
        for (const [i, token] of tokens.entries()) if (i > 0) assert.isTrue(token > tokens[i - 1]!, "tokens grow")
        const count = yield* c.two.get(c.key("count"))
        assert.isTrue(count._tag === "Some" && count.value.value === 30n)
        assert.deepStrictEqual(yield* leftOver(c.two, room, c.root), [], "nothing stays of a lock")
      }))

    test("serves those who wait in the order in which they came", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { fiber } = yield* holder(c, c.one, gate)
        const served: Array<number> = []
        const waiters: Array<Fiber.Fiber<void, unknown>> = []
        for (let i = 0; i < 8; i++) {
          const work = Effect.sync(() => void served.push(i))
          waiters.push(yield* c.beside(i % 2 === 0 ? c.two : c.one, Kv.withLock(c.key("a"), { lease: c.lease })(work)))
          yield* inLine(c, i + 1)
          // Tickets are in the order of the store's clock.
          yield* c.advance(2)
        }
        yield* Deferred.succeed(gate, undefined)
        for (const waiter of [fiber, ...waiters]) successOf(yield* c.end(waiter))
        assert.deepStrictEqual(served, [0, 1, 2, 3, 4, 5, 6, 7])
      }))

    test("waits as long as it is told, and not at all with wait: 0", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { fiber } = yield* holder(c, c.one, gate)
        let ran = false
        const work = Effect.sync(() => void (ran = true))
        const now = yield* failsWith("LockTimeout", c.on(c.two)(Kv.withLock(c.key("a"), { wait: 0 })(work)))
        assert.match(now.message, /held by somebody else/)
        const before = yield* c.two.now
        const later = yield* c.beside(c.two, Kv.withLock(c.key("a"), { wait: 300, lease: c.lease })(work))
        const timeout = failureOf("LockTimeout", yield* c.end(later))
        assert.include(timeout.message, "300 ms")
        assert.isAtLeast((yield* c.two.now) - before, 299)
        assert.isFalse(ran)
        yield* inLine(c, 0)
        yield* Deferred.succeed(gate, undefined)
        successOf(yield* c.end(fiber))
        yield* c.on(c.two)(Kv.withLock(c.key("a"), { wait: 0 })(work))
        assert.isTrue(ran)
      }))

    test("is free when the effect has ended, with its finalizers, however it ended", (c) =>
      Effect.gen(function* () {
        const after: Array<string> = []
        const ends = {
          success: Effect.void,
          failure: Effect.fail(new Down()),
          defect: Effect.die("a defect"),
          interruption: Effect.interrupt
        }
        for (const [name, end] of Object.entries(ends)) {
          const exit = yield* Effect.exit(
            Kv.withLock(c.key("a"))(
              Effect.ensuring(
                end as Effect.Effect<void, Down>,
                Effect.gen(function* () {
                  const other = Effect.exit(c.on(c.kv)(Kv.withLock(c.key("a"), { wait: 0 })(Effect.void)))
                  after.push(`${name} ${Exit.isFailure(yield* other) ? "held" : "free"}`)
                })
              )
            )
          )
          assert.strictEqual(Exit.isSuccess(exit), name === "success")
          if (name === "failure") failureOf("Down", exit)
          yield* Kv.withLock(c.key("a"), { wait: 0 })(Effect.void)
        }
        assert.deepStrictEqual(after, ["success held", "failure held", "defect held", "interruption held"])
        const held = yield* Deferred.make<void>()
        const interrupted = yield* c.beside(
          c.one,
          Kv.withLock(c.key("b"))(Effect.andThen(Deferred.succeed(held, undefined), Effect.never))
        )
        yield* c.settle(Deferred.await(held))
        yield* Fiber.interrupt(interrupted)
        yield* c.on(c.two)(Kv.withLock(c.key("b"), { wait: 0 })(Effect.void))
      }))

    test("is held by heartbeats for as long as the effect takes", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { fiber } = yield* holder(c, c.one, gate)
        let second = false
        const waiter = yield* c.beside(
          c.two,
          Kv.withLock(c.key("a"), { lease: c.lease })(Effect.sync(() => void (second = true)))
        )
        yield* c.advance(3 * c.lease)
        assert.isFalse(second)
        assert.isUndefined(fiber.pollUnsafe())
        yield* Deferred.succeed(gate, undefined)
        successOf(yield* c.end(fiber))
        successOf(yield* c.end(waiter))
        assert.isTrue(second)
      }))

    test("is lost by one who is cut off: the effect is interrupted and fails with LockLost, and its commits are fenced", (c) =>
      Effect.gen(function* () {
        const locks: Array<Kv.Lock> = []
        let interrupted = false
        const work = (effect: Effect.Effect<void>) =>
          Kv.withLock(c.key("a"), { lease: c.lease })((lock) => {
            locks.push(lock)
            return effect
          })
        const first = yield* c.beside(
          c.one,
          work(Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true))))
        )
        yield* c.until("the lock", () => locks.length === 1)
        const gate = yield* Deferred.make<void>()
        const second = yield* c.beside(c.two, work(Deferred.await(gate)))
        yield* c.advance(2 * c.lease)
        assert.strictEqual(locks.length, 1)
        const cutAt = yield* c.two.now
        yield* c.cut
        yield* c.until("the take-over", () => locks.length === 2)
        assert.isAtMost((yield* c.two.now) - cutAt, c.lease + 1_000)
        yield* c.until("the interruption", () => interrupted)
        const lost = failureOf("LockLost", yield* c.end(first))
        const [old, next] = locks as [Kv.Lock, Kv.Lock]
        assert.strictEqual(lost.token, old.token)
        assert.isTrue(next.token > old.token)
        yield* c.heal
        const write = (lock: Kv.Lock) => Kv.atomic([lock.check, Kv.set(c.key("data"), String(lock.token))])
        yield* failsWith("Conflict", c.on(c.one)(write(old)))
        yield* c.on(c.two)(write(next))
        yield* Deferred.succeed(gate, undefined)
        successOf(yield* c.end(second))
        // And after it was given back its check holds no more either.
        yield* failsWith("Conflict", c.on(c.two)(write(next)))
      }))

    test("that somebody else has is noticed at the next heartbeat, and not disturbed by it", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { fiber, lock } = yield* holder(c, c.one, gate)
        // As if the first had stood still until its lease was over.
        yield* c.two.delete([room, "beat", ...c.key("a")])
        const second = yield* holder(c, c.two, gate)
        assert.isTrue(second.lock.token > lock.token)
        const lost = failureOf("LockLost", yield* c.end(fiber))
        assert.include(lost.message, "taken it over")
        yield* c.advance(2 * c.lease)
        assert.isUndefined(second.fiber.pollUnsafe())
        yield* Deferred.succeed(gate, undefined)
        successOf(yield* c.end(second.fiber))
      }))

    test("is kept through an outage shorter than the lease", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { fiber } = yield* holder(c, c.one, gate)
        let second = false
        const waiter = yield* c.beside(
          c.two,
          Kv.withLock(c.key("a"), { lease: c.lease })(Effect.sync(() => void (second = true)))
        )
        yield* inLine(c, 1)
        for (let i = 0; i < 3; i++) {
          yield* c.cut
          yield* c.advance(c.lease / 3)
          yield* c.heal
          yield* c.advance(c.lease / 3)
        }
        assert.isFalse(second)
        yield* Deferred.succeed(gate, undefined)
        successOf(yield* c.end(fiber))
        successOf(yield* c.end(waiter))
      }))

    test("passes by those who stopped waiting, interrupted or gone", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { fiber } = yield* holder(c, c.two, gate)
        const wait = Kv.withLock(c.key("a"), { lease: c.lease })(Effect.void)
        const interrupted = yield* c.beside(c.two, wait)
        yield* inLine(c, 1)
        yield* c.advance(2)
        const gone = yield* c.beside(c.one, wait)
        yield* inLine(c, 2)
        yield* c.advance(2)
        const last = yield* c.beside(c.two, wait)
        yield* inLine(c, 3)
        yield* Fiber.interrupt(interrupted)
        yield* inLine(c, 2)
        yield* c.cut
        // It gives up when it has not reached the store for a lease; its ticket stays, for the store to forget or the next to drop.
        failureOf("Unavailable", yield* c.end(gone))
        yield* Deferred.succeed(gate, undefined)
        successOf(yield* c.end(fiber))
        successOf(yield* c.end(last))
      }))

    test("has keys of its own, also where one begins with another", (c) =>
      Effect.gen(function* () {
        const lock = (...parts: ReadonlyArray<Kv.KeyPart>) => Kv.withLock(c.key(...parts), { wait: 0 })
        yield* lock("a")(lock("a", "b")(lock("a", "b", "c")(lock("b")(Effect.void))))
        yield* failsWith("LockTimeout", lock("a")(lock("a")(Effect.void)))
      }))

    test("refuses unusable options, each by its name", (c) =>
      Effect.gen(function* () {
        for (const [name, options] of [
          ["lease", { lease: 99 }],
          ["lease", { lease: "2 days" }],
          ["wait", { wait: "-1 second" as never }]
        ] as const) {
          const reason = yield* failsWith("Unsupported", Kv.withLock(c.key("a"), options)(Effect.void))
          assert.include(reason.message, `The option ${name} of Kv.withLock`)
        }
        yield* failsWith("InvalidKey", Kv.withLock([] as never)(Effect.void))
      }))
  })
}

import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Kv from "../Kv.ts"
import { failsWith, failureOf, leftOver, type PatternCases, successOf } from "./kvPatternsSupport.ts"
import { valueOf } from "./kvSupport.ts"
import { machinePace } from "./pace.ts"

class Declined extends Schema.TaggedError<Declined>()("Declined", { at: Schema.Date, n: Schema.Finite }) {}
class Down extends Schema.TaggedError<Down>()("Down", {}) {}
class Receipt extends Schema.Class<Receipt>("Receipt")({ at: Schema.Date, cents: Schema.BigInt }) {}

const room = "~effect-seams/once"

export const onceCases = (test: PatternCases): void => {
  describe("once", () => {
    test("runs an effect once for all who ask, in both processes, and gives all of them its result", (c) =>
      Effect.gen(function* () {
        let runs = 0
        const ask = Kv.once(c.key("a"), { success: Receipt, lease: c.lease })(
          Effect.suspend(() => {
            runs++
            return Effect.as(Effect.sleep(100), new Receipt({ at: new Date(1_700_000_000_000), cents: 2n ** 70n }))
          })
        )
        const fibers = yield* Effect.forEach(Array.from({ length: 24 }), (_, i) =>
          c.beside(i % 2 === 0 ? c.one : c.two, ask)
        )
        const results = yield* Effect.forEach(fibers, (fiber) => Effect.map(c.end(fiber), successOf))
        assert.strictEqual(runs, 1)
        for (const result of [...results, yield* c.on(c.two)(ask)]) {
          assert.instanceOf(result, Receipt)
          assert.deepStrictEqual([result.at.getTime(), result.cents], [1_700_000_000_000, 2n ** 70n])
        }
        assert.strictEqual(runs, 1)
        assert.deepStrictEqual(yield* leftOver(c.two, room, c.root), [[room, "result", ...c.key("a")]])
      }))

    test("keeps failures that fit the schema, and no others, no defects and no interruptions", (c) =>
      Effect.gen(function* () {
        let runs = 0
        const ask = <E>(name: string, effect: Effect.Effect<number, E>) =>
          Kv.once(c.key(name), { success: Schema.Finite, error: Declined, lease: c.lease })(
            Effect.suspend(() => {
              runs++
              return effect
            })
          )
        const declined = ask("declined", Effect.fail(new Declined({ at: new Date(5), n: 7 })))
        for (const kv of [c.one, c.two, c.two]) {
          const failure = yield* failsWith("Declined", c.on(kv)(declined))
          assert.instanceOf(failure, Declined)
          assert.deepStrictEqual([failure.at.getTime(), failure.n], [5, 7])
        }
        assert.strictEqual(runs, 1)
        for (const kv of [c.one, c.two]) yield* failsWith("Down", c.on(kv)(ask("down", Effect.fail(new Down()))))
        assert.strictEqual(runs, 3)
        for (const kv of [c.one, c.two]) {
          const exit = yield* Effect.exit(c.on(kv)(ask("defect", Effect.die("a defect"))))
          assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.every((reason) => reason._tag === "Die"))
        }
        assert.strictEqual(runs, 5)
        const interrupted = yield* c.beside(c.one, ask("interrupted", Effect.never))
        yield* c.until("the run", () => runs === 6)
        yield* Fiber.interrupt(interrupted)
        assert.strictEqual(yield* c.on(c.two)(ask("interrupted", Effect.succeed(1))), 1)
        assert.strictEqual(runs, 7)
        assert.deepStrictEqual(
          (yield* leftOver(c.two, room, c.root)).map((key) => [key[1], key.at(-1)]),
          [
            ["result", "declined"],
            ["result", "interrupted"]
          ],
          "claims are given back"
        )
      }))

    test("keeps the result as long as it is told, then runs again", (c) =>
      Effect.gen(function* () {
        let runs = 0
        const keep = 1_000 * machinePace
        const ask = Kv.once(c.key("a"), { success: Schema.Finite, keep, lease: c.lease })(Effect.sync(() => ++runs))
        assert.strictEqual(yield* ask, 1)
        yield* c.advance(100)
        assert.strictEqual(yield* ask, 1)
        yield* c.advance(keep)
        assert.strictEqual(yield* ask, 2)
        const forever = Kv.once(c.key("b"), { success: Schema.Finite, keep: "Infinity" })(Effect.succeed(1))
        yield* forever
        const [, kept] = yield* c.kv.getMany([c.key("a"), [room, "result", ...c.key("b")]])
        assert.isTrue(kept !== undefined && kept._tag === "Some" && kept.value.expiresAt._tag === "None")
      }))

    test("needs no schema for an effect without a result", (c) =>
      Effect.gen(function* () {
        let runs = 0
        const ask = Kv.once(c.key("a"))(Effect.sync(() => ++runs))
        assert.isUndefined(yield* ask)
        assert.isUndefined(yield* ask)
        assert.strictEqual(runs, 1)
      }))

    test("fails at once while another runs it, when told so", (c) =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const options = { success: Schema.Finite, lease: c.lease, whenRunning: "fail" } as const
        let runs = 0
        const running = yield* c.beside(
          c.one,
          Kv.once(
            c.key("a"),
            options
          )(
            Effect.suspend(() => {
              runs++
              return Effect.as(Deferred.await(gate), 1)
            })
          )
        )
        yield* c.until("the run", () => runs === 1)
        const second = c.on(c.two)(Kv.once(c.key("a"), options)(Effect.succeed(2)))
        assert.match((yield* failsWith("AlreadyRunning", second)).message, /Ask again later/)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(successOf(yield* c.end(running)), 1)
        assert.strictEqual(yield* second, 1)
      }))

    test("is held by heartbeats for as long as the effect takes", (c) =>
      Effect.gen(function* () {
        let runs = 0
        const ask = Kv.once(c.key("a"), { success: Schema.Finite, lease: c.lease })(
          Effect.suspend(() => Effect.as(Effect.sleep(3 * c.lease), ++runs))
        )
        const fibers = [yield* c.beside(c.one, ask), yield* c.beside(c.two, ask)]
        for (const fiber of fibers) assert.strictEqual(successOf(yield* c.end(fiber)), 1)
        assert.strictEqual(runs, 1)
      }))

    test("is taken over from one who is cut off: within a lease and a second, with a greater token, and the old run is fenced", (c) =>
      Effect.gen(function* () {
        const tokens: Array<bigint> = []
        const started: Array<string> = []
        let check: Kv.Check | undefined
        let complete: Effect.Effect<unknown, Kv.KvError | Kv.Conflict, Kv.Kv> | undefined
        let interrupted = false
        const ask = (who: string, body: Effect.Effect<string>) =>
          Kv.once(c.key("a"), { success: Schema.String, lease: c.lease })((run) =>
            Effect.suspend(() => {
              started.push(who)
              tokens.push(run.token)
              check ??= run.check
              complete ??= run.complete("late")
              return body
            })
          )
        const first = yield* c.beside(
          c.one,
          ask(
            "first",
            Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
          )
        )
        yield* c.until("the first run", () => started.length === 1)
        const second = yield* c.beside(c.two, ask("second", Effect.succeed("from the second")))
        yield* c.advance(2 * c.lease)
        assert.deepStrictEqual(started, ["first"], "a live run is left alone")
        const cutAt = yield* c.two.now
        yield* c.cut
        yield* c.until("the take-over", () => started.length === 2)
        assert.isAtMost((yield* c.two.now) - cutAt, c.lease + 1_000)
        assert.strictEqual(successOf(yield* c.end(second)), "from the second")
        assert.isTrue(tokens[1]! > tokens[0]!)
        yield* c.until("the first run to be interrupted", () => interrupted)
        yield* c.heal
        const guarded = Kv.atomic([check!, Kv.set(c.key("data"), "of the first")])
        yield* failsWith("Conflict", c.on(c.two)(guarded))
        yield* failsWith("Conflict", c.on(c.two)(complete!))
        // Who was taken over gets the result of the one who did.
        assert.strictEqual(successOf(yield* c.end(first)), "from the second")
        assert.deepStrictEqual(started, ["first", "second"])
      }))

    test("keeps a result in the commit of the data, and then runs no second time, whatever becomes of the run", (c) =>
      Effect.gen(function* () {
        let runs = 0
        const ask = (after: Effect.Effect<string>) =>
          Kv.once(c.key("a"), { success: Schema.String, lease: c.lease })((run) =>
            Effect.gen(function* () {
              runs++
              yield* Kv.atomic([Kv.sum(c.key("count"), 1n), run.complete("kept")])
              return yield* after
            })
          )
        const first = yield* c.beside(c.one, ask(Effect.never))
        yield* c.until("the run", () => runs === 1)
        yield* c.settle(
          Effect.repeat(c.two.get(c.key("count")), {
            until: (entry) => entry._tag === "Some",
            schedule: Schedule.spaced(5)
          })
        )
        yield* Fiber.interrupt(first)
        assert.strictEqual(yield* c.on(c.two)(ask(Effect.succeed("not kept"))), "kept")
        assert.strictEqual(runs, 1)
        assert.strictEqual(valueOf(yield* c.two.get(c.key("count"))), 1n)
        // And where the run goes on to its end, its caller gets what was kept.
        const other = Kv.once(c.key("b"), { success: Schema.String })((run) =>
          Effect.as(run.complete("kept"), "returned")
        )
        assert.strictEqual(yield* other, "kept")
      }))

    test("refuses unusable options, each by its name", (c) =>
      Effect.gen(function* () {
        const asking = (options: Kv.OnceOptions<any, any>) =>
          failsWith("Unsupported", Kv.once(c.key("a"), options)(Effect.void))
        for (const [name, options] of [
          ["lease", { lease: 10 }],
          ["lease", { lease: "Infinity" }],
          ["lease", { lease: "-1 second" as never }],
          ["keep", { keep: 0 }],
          ["whenRunning", { whenRunning: "maybe" as never }]
        ] as const)
          assert.include((yield* asking(options)).message, `The option ${name} of Kv.once`)
        yield* failsWith("InvalidKey", Kv.once([] as never)(Effect.void))
        const wrong = Kv.once(c.key("b"), { success: Schema.Finite })(Effect.succeed("text" as never))
        yield* failsWith("Unencodable", wrong)
        assert.deepStrictEqual(yield* leftOver(c.kv, room, c.root), [], "no claim stays")
      }))

    test("does not take what it cannot read for a missing result", (c) =>
      Effect.gen(function* () {
        yield* Kv.once(c.key("a"), { success: Schema.String })(Effect.succeed("text"))
        let ran = false
        const exit = yield* Effect.exit(
          Kv.once(c.key("a"), { success: Schema.Finite })(Effect.sync(() => ((ran = true), 1)))
        )
        assert.include(failureOf("Undecodable", exit).key, "result")
        assert.isFalse(ran)
      }))
  })
}

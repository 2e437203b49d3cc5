import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Kv from "../Kv.ts"
import type { Cases } from "./kvSupport.ts"
import { conflict, failure, reasonOf, some, valueOf } from "./kvSupport.ts"

export const commitCases = (test: Cases): void => {
  describe("mutations", () => {
    test("are values: made without effect, committed by each run", ({ key, kv }) =>
      Effect.gen(function* () {
        const op = Kv.set(key("a"), 1)
        yield* Effect.yieldNow
        assert.isFalse(yield* kv.has(key("a")))
        const first = yield* op
        const second = yield* op
        assert.notStrictEqual(first, second)
        assert.strictEqual(some(yield* kv.get(key("a"))).versionstamp, second)
      }))

    test("commit themselves when run alone, and answer with the versionstamp of what they wrote", ({ key, kv, root }) =>
      Effect.gen(function* () {
        const Names = Kv.collection([root, "names"], { key: Schema.String, value: Schema.String })
        assert.strictEqual(yield* Kv.set(key("set"), 1), some(yield* kv.get(key("set"))).versionstamp)
        assert.strictEqual(yield* kv.set(key("set"), 2), some(yield* kv.get(key("set"))).versionstamp)
        assert.strictEqual(yield* Kv.sum(key("n"), 5n), some(yield* kv.get(key("n"))).versionstamp)
        assert.strictEqual(yield* Kv.min(key("n"), 3n), some(yield* kv.get(key("n"))).versionstamp)
        assert.strictEqual(yield* Kv.max(key("n"), 9n), some(yield* kv.get(key("n"))).versionstamp)
        assert.strictEqual(valueOf(yield* kv.get(key("n"))), 9n)
        assert.strictEqual(yield* Names.set("a", "A"), some(yield* Names.get("a")).versionstamp)
        const gone = yield* Names.delete("a")
        assert.match(gone, /^[^.]+$/)
        assert.isTrue(Option.isNone(yield* Names.get("a")))
      }))

    test("that delete succeed for missing keys, again and again", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.delete(key("never"))
        yield* Kv.delete(key("never"))
        yield* kv.set(key("once"), 1)
        yield* kv.delete(key("once"))
        yield* kv.delete(key("once"))
        assert.isFalse(yield* kv.has(key("once")))
      }))

    test("of one key have growing versionstamps, also over deletes", ({ key, kv }) =>
      Effect.gen(function* () {
        const stamps: Array<string> = []
        for (let i = 0; i < 20; i++) {
          stamps.push(yield* kv.set(key("a"), i))
          if (i % 3 === 0) stamps.push(yield* kv.delete(key("a")))
          if (i % 5 === 0) stamps.push(yield* Kv.sum(key("n"), 1n))
        }
        assert.deepStrictEqual(stamps, stamps.toSorted())
        assert.strictEqual(new Set(stamps).size, stamps.length)
      }))

    test("that read or check a key have a greater versionstamp than what they read", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), 1)
        for (let i = 0; i < 10; i++) {
          const read = some(yield* kv.get(key(i % 2 === 0 ? "a" : "b")))
          const to = key(i % 2 === 0 ? "b" : "a")
          const stamp = yield* Kv.atomic([Kv.check(read.key, read), Kv.set(to, i)])
          assert.isTrue(stamp > read.versionstamp)
        }
      }))
  })

  describe("an atomic commit", () => {
    test("gives every entry it writes its one versionstamp", ({ key, kv, root }) =>
      Effect.gen(function* () {
        const Names = Kv.collection([root, "names"], { key: Schema.String, value: Schema.String })
        const stamp = yield* Kv.atomic([
          Kv.set(key("a"), 1),
          Kv.set(key("b"), Uint8Array.of(1)),
          Kv.sum(key("c"), 1n),
          Kv.max(key("d"), 2n),
          Names.set("e", "E")
        ])
        const found = yield* kv.getMany([key("a"), key("b"), key("c"), key("d"), Names.at("e")])
        assert.deepStrictEqual(
          found.map((entry) => some(entry).versionstamp),
          Array.from({ length: 5 }, () => stamp)
        )
      }))

    test("applies its steps in order, each on what the ones before it left", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("json"), 1)
        yield* Kv.atomic([
          Kv.set(key("gone"), 1),
          Kv.delete(key("gone")),
          Kv.delete(key("back")),
          Kv.set(key("back"), "here"),
          Kv.set(key("twice"), 1),
          Kv.set(key("twice"), 2),
          Kv.delete(key("json")),
          Kv.sum(key("json"), 4n),
          Kv.sum(key("n"), 5n),
          Kv.sum(key("n"), 5n),
          Kv.max(key("n"), 100n),
          Kv.min(key("n"), 60n),
          Kv.sum(key("n"), 1n)
        ])
        const keys = ["gone", "back", "twice", "json", "n"].map((name) => key(name))
        assert.deepStrictEqual((yield* kv.getMany(keys)).map(valueOf), ["(none)", "here", 2, 4n, 61n])
      }))

    test("changes nothing when one step cannot be applied", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.atomic([Kv.set(key("json"), 1), Kv.set(key("kept"), "old"), Kv.sum(key("n"), 2n ** 63n - 1n)])
        const before = yield* kv.getMany([key("json"), key("kept"), key("n"), key("new")])
        const steps = [
          Kv.set(key("kept"), "changed"),
          Kv.set(key("new"), 1),
          Kv.delete(key("json")),
          Kv.sum(key("m"), 1n)
        ]
        yield* failure("NotACounter", Kv.atomic([Kv.set(key("kept"), "changed"), Kv.sum(key("json"), 1n)]))
        yield* failure("NotACounter", Kv.atomic([...steps, Kv.set(key("m"), 1), Kv.sum(key("m"), 1n)]))
        yield* failure("CounterOverflow", Kv.atomic([...steps, Kv.sum(key("n"), 1n)]))
        yield* conflict(Kv.atomic([...steps, Kv.check(key("kept"), null)]))
        yield* failure("InvalidKey", Kv.atomic([...steps, Kv.set([] as never, 1)]))
        yield* failure("InvalidExpiry", Kv.atomic([...steps, Kv.set(key("x"), 1, { expireIn: -1 })]))
        assert.deepStrictEqual(yield* kv.getMany([key("json"), key("kept"), key("n"), key("new")]), before)
        assert.isFalse(yield* kv.has(key("m")))
      }))

    test("of checks alone answers or conflicts, and writes nothing", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), 1)
        const entry = yield* kv.get(key("a"))
        assert.isString(yield* Kv.atomic([Kv.check(key("a"), entry), Kv.check(key("b"), null)]))
        assert.deepStrictEqual(yield* conflict(Kv.atomic([Kv.check(key("b"), entry)])), [0])
        assert.deepStrictEqual(yield* kv.get(key("a")), entry)
      }))

    test("refuses steps of two stores", ({ key }) =>
      Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const Other = Kv.named("effect-seams-testing-other")
        const There = Kv.collection(key("x"), { value: Schema.String, store: Other })
        const both = Kv.atomic([Kv.set(key("a"), 1), There.set(["b"], "B")])
        yield* failure("Unsupported", Effect.provideService(both, Other, kv))
        assert.isFalse(yield* kv.has(key("a")))
      }))

    test("with a message is Unsupported in a store that shares none with a queue", ({ key, kv }) =>
      Effect.gen(function* () {
        if (kv.capabilities.sharedQueue) return
        const join = () => () => undefined
        const ack = { _tag: "Ack", queue: "q", id: "i", token: "t", store: kv.store, join } as const
        const set = { _tag: "Set", key: key("a"), value: { _tag: "Json", text: "1" }, expireIn: undefined } as const
        yield* failure("Unsupported", kv.commit([set, ack]))
        assert.isFalse(yield* kv.has(key("a")))
      }))
  })

  describe("checks", () => {
    test("hold for the entry, its Option, its versionstamp; null and None mean: must not exist", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), 1)
        const read = yield* kv.get(key("a"))
        const entry = some(read)
        const a = Kv.check(key("a"), entry)
        yield* Kv.atomic([a, Kv.check(key("a"), read), Kv.check(key("a"), entry.versionstamp), Kv.set(key("x"), 1)])
        yield* Kv.atomic([Kv.check(key("none"), null), Kv.check(key("none"), Option.none()), Kv.set(key("x"), 2)])
        assert.strictEqual(valueOf(yield* kv.get(key("x"))), 2)
      }))

    test("fail with the indexes of those that do not hold, counted among the checks", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), 1)
        const old = some(yield* kv.get(key("a")))
        yield* kv.set(key("a"), 1)
        yield* kv.set(key("b"), 1)
        const b = yield* kv.get(key("b"))
        const failed = yield* conflict(
          Kv.atomic([
            Kv.set(key("x"), 1),
            Kv.check(key("a"), old),
            Kv.check(key("b"), b),
            Kv.sum(key("n"), 1n),
            Kv.check(key("b"), null),
            Kv.check(key("none"), Option.none()),
            Kv.check(key("none"), old.versionstamp)
          ])
        )
        assert.deepStrictEqual([...failed], [0, 2, 4])
        assert.deepStrictEqual((yield* kv.getMany([key("x"), key("n")])).map(valueOf), ["(none)", "(none)"])
      }))

    test("compare with the state before the commit, wherever they stand among the steps", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* Kv.atomic([Kv.set(key("a"), 1), Kv.check(key("a"), null)])
        const entry = yield* kv.get(key("a"))
        yield* Kv.atomic([Kv.delete(key("a")), Kv.check(key("a"), entry)])
        assert.isFalse(yield* kv.has(key("a")))
      }))

    test("see a rewrite with an equal value, a delete with a new set, and the stamp of another key", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), "same")
        const first = yield* kv.get(key("a"))
        yield* kv.set(key("a"), "same")
        yield* conflict(Kv.atomic([Kv.check(key("a"), first)]))
        const second = yield* kv.get(key("a"))
        yield* kv.delete(key("a"))
        yield* conflict(Kv.atomic([Kv.check(key("a"), second)]))
        yield* kv.set(key("a"), "same")
        yield* conflict(Kv.atomic([Kv.check(key("a"), second)]))
        yield* kv.set(key("b"), 1)
        yield* conflict(Kv.atomic([Kv.check(key("a"), yield* kv.get(key("b")))]))
      }))

    test("that failed once fail again: repeating a stale commit never helps", ({ key, kv }) =>
      Effect.gen(function* () {
        yield* kv.set(key("a"), 1)
        const stale = Kv.atomic([Kv.check(key("a"), null), Kv.set(key("a"), 2)])
        for (let i = 0; i < 3; i++) assert.deepStrictEqual(yield* conflict(stale), [0])
        assert.strictEqual(valueOf(yield* kv.get(key("a"))), 1)
      }))

    test("let exactly one of many contenders create a key", ({ key, kv, settle }) =>
      Effect.gen(function* () {
        const outcomes = yield* settle(
          Effect.forEach(
            Array.from({ length: 50 }, (_, i) => i),
            (i) => reasonOf(Kv.atomic([Kv.check(key("lock"), null), Kv.set(key("lock"), i)])),
            { concurrency: "unbounded" }
          )
        )
        assert.deepStrictEqual(outcomes.toSorted(), [...Array.from({ length: 49 }, () => "Conflict"), "success"])
        assert.strictEqual(valueOf(yield* kv.get(key("lock"))), outcomes.indexOf("success"))
      }))
  })

  describe("transact", () => {
    test("runs reads and commit again on Conflict, so that 100 contenders all finish", ({ key, kv, settle }) =>
      Effect.gen(function* () {
        const bump = Kv.transact(
          Effect.gen(function* () {
            const old = yield* kv.get(key("n"))
            yield* Effect.yieldNow
            const next = Option.isNone(old) ? 1 : (old.value.value as number) + 1
            yield* Kv.atomic([Kv.check(key("n"), old), Kv.set(key("n"), next)])
            return next
          })
        )
        const results = yield* settle(
          Effect.all(
            Array.from({ length: 100 }, () => bump),
            { concurrency: "unbounded" }
          )
        )
        assert.deepStrictEqual(
          results.toSorted((a, b) => a - b),
          Array.from({ length: 100 }, (_, i) => i + 1)
        )
        assert.strictEqual(valueOf(yield* kv.get(key("n"))), 100)
      }))

    test("does not repeat on other errors, nor beyond its schedule", ({ key, settle }) =>
      Effect.gen(function* () {
        let runs = 0
        const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.suspend(() => {
            runs++
            return effect
          })
        const broken = counted(Effect.andThen(Kv.set(key("a"), 1), Effect.fail("broken" as const)))
        assert.strictEqual(yield* Effect.flip(Kv.transact(broken)), "broken")
        assert.strictEqual(runs, 1)
        runs = 0
        const never = counted(Kv.atomic([Kv.check(key("a"), null)]))
        yield* conflict(settle(Kv.transact(never, { schedule: Schedule.recurs(3) })))
        assert.strictEqual(runs, 4)
      }))

    test("update reads, decides and commits: 100 contenders all count", ({ key, root, settle }) =>
      Effect.gen(function* () {
        const Counts = Kv.collection([root, "counts"], {
          key: Schema.String,
          value: Schema.Struct({ n: Schema.Finite })
        })
        const bump = Counts.update("a", (old) =>
          Effect.as(
            Effect.yieldNow,
            Option.match(old, { onNone: () => ({ n: 1 }), onSome: (value) => ({ n: value.n + 1 }) })
          )
        )
        const entries = yield* settle(
          Effect.all(
            Array.from({ length: 100 }, () => bump),
            { concurrency: "unbounded" }
          )
        )
        assert.strictEqual(new Set(entries.map((entry) => entry.versionstamp)).size, 100)
        const last = some(yield* Counts.get("a"))
        assert.strictEqual(last.value.n, 100)
        assert.deepStrictEqual(last.key, key("counts", "a"))
        assert.isTrue(entries.some((entry) => entry.versionstamp === last.versionstamp && entry.value.n === 100))
      }))

    test("update passes on the error of its function and writes nothing", ({ root }) =>
      Effect.gen(function* () {
        const Names = Kv.collection([root], { key: Schema.String, value: Schema.String })
        assert.strictEqual(yield* Effect.flip(Names.update("a", () => Effect.fail("no" as const))), "no")
        assert.isFalse(yield* Names.has("a"))
        const written = yield* Names.update("a", (old) => Effect.succeed(Option.isNone(old) ? "first" : "again"))
        assert.strictEqual(written.value, "first")
        assert.deepStrictEqual(yield* Names.get("a"), Option.some(written))
      }))
  })
}

import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Packed } from "../../../src/internal/keyCodec.ts"
import { pack, prefixRange } from "../../../src/internal/keyCodec.ts"
import { commitIdsWith } from "../../../src/internal/ids.ts"
import * as Kv from "../../../src/Kv.ts"
import { layerKv, makeKvDriver } from "../../../src/layers/memory/index.ts"

const key = (...parts: ReadonlyArray<Kv.KeyPart>) => pack(parts) as Packed
const everything: Kv.Watched = { _tag: "Range", range: prefixRange("" as Packed) }

// Every test has ids of its own, as every client has.
const ids = () => commitIdsWith((words) => crypto.getRandomValues(words))

const clientOf = (driver: Kv.Driver, nextId = ids()) => {
  const commit = (mutations: ReadonlyArray<Kv.Mutation>, checks: Kv.Commit["checks"] = []) =>
    driver.commit({ id: nextId(), checks, mutations, size: 0 })
  const stamped = (mutations: ReadonlyArray<Kv.Mutation>, checks: Kv.Commit["checks"] = []) =>
    Effect.map(commit(mutations, checks), (outcome) =>
      outcome._tag === "Committed" ? outcome.versionstamp : assert.fail(`expected a commit, got ${outcome._tag}`)
    )
  const get = (one: Packed) => Effect.map(driver.getMany([one]), ([found]) => found)
  return { commit, stamped, get }
}

const set = (one: Packed, text = "1", expireIn?: number): Kv.Mutation => ({
  _tag: "Set",
  key: one,
  value: { _tag: "Json", text },
  expireIn
})
const del = (one: Packed): Kv.Mutation => ({ _tag: "Delete", key: one })
const sum = (one: Packed, operand: bigint): Kv.Mutation => ({ _tag: "Sum", key: one, operand, expireIn: undefined })
const counter = (one: Packed, value: bigint, expireIn?: number): Kv.Mutation => ({
  _tag: "Set",
  key: one,
  value: { _tag: "Counter", value },
  expireIn
})

const linesOf = (read: Kv.LogRead) =>
  read._tag === "Lines" ? read.lines : assert.fail(`expected lines, the log is trimmed: ${read.detail}`)

describe("an expired entry that was not swept yet", () => {
  it.effect("is invisible to reads, lists, checks and log reads from its deadline on", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { commit, get, stamped } = clientOf(driver)
      const start = yield* driver.log.head
      const stamp = yield* stamped([set(key("a"), "1", 10), set(key("b"))])
      yield* TestClock.adjust(9)
      assert.isDefined(yield* get(key("a")))
      yield* TestClock.adjust(1)
      assert.isUndefined(yield* get(key("a")))
      for (const reverse of [false, true]) {
        const { entries } = yield* driver.list(prefixRange("" as Packed), { limit: 1, reverse })
        assert.deepStrictEqual(
          entries.map((entry) => entry.key),
          [key("b")]
        )
      }
      assert.deepStrictEqual(yield* commit([], [{ key: key("a"), versionstamp: stamp }]), {
        _tag: "Conflict",
        failed: [0]
      })
      const lines = linesOf(yield* driver.log.read({ after: start, watched: everything, limit: 10 }))
      assert.deepStrictEqual(
        lines.map((line) => [line.op, line.entry?.key]),
        [
          ["put", undefined],
          ["put", key("b")]
        ]
      )
      yield* stamped([set(key("a"), "2")], [{ key: key("a"), versionstamp: null }])
      assert.deepStrictEqual((yield* get(key("a")))?.expiresAt, undefined)
    })
  )

  it.effect("counts as missing for sum, min and max, and its expiry does not stay", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { get, stamped } = clientOf(driver)
      yield* stamped([counter(key("n"), 5n, 10)])
      yield* TestClock.adjust(10)
      yield* stamped([sum(key("n"), 2n)])
      const found = yield* get(key("n"))
      assert.deepStrictEqual(found?.value, { _tag: "Counter", value: 2n })
      assert.isUndefined(found?.expiresAt)
      assert.isUndefined(yield* driver.sweep)
    })
  )

  it.effect("leaves one line when it is swept, overwritten or deleted, and never a second", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { stamped } = clientOf(driver)
      const names = ["deleted", "overwritten", "swept"]
      yield* stamped(names.map((name) => set(key(name), "1", 10)))
      const after = yield* driver.log.head
      yield* TestClock.adjust(10)
      yield* stamped([del(key("deleted")), set(key("overwritten"), "2")])
      assert.isUndefined(yield* driver.sweep)
      yield* driver.sweep
      yield* stamped([del(key("deleted")), del(key("swept"))])
      const lines = linesOf(yield* driver.log.read({ after, watched: everything, limit: 10 }))
      assert.deepStrictEqual(
        lines.map((line) => [line.op, line.key]),
        [
          ["expire", key("deleted")],
          ["put", key("overwritten")],
          ["expire", key("swept")]
        ]
      )
    })
  )
})

describe("a sweep", () => {
  it.effect("is a commit of its own: one versionstamp, one line per entry, and answers with the next deadline", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { get, stamped } = clientOf(driver)
      yield* stamped([set(key("late"), "1", 500), set(key("a"), "1", 10), set(key("b"), "1", 20), set(key("stays"))])
      const before = yield* stamped([set(key("x"))])
      const after = yield* driver.log.head
      assert.strictEqual(yield* driver.sweep, 10)
      yield* TestClock.adjust(20)
      assert.strictEqual(yield* driver.sweep, 500)
      const lines = linesOf(yield* driver.log.read({ after, watched: everything, limit: 10 }))
      assert.deepStrictEqual(
        lines.map((line) => [line.op, line.key, line.entry]),
        [
          ["expire", key("a"), undefined],
          ["expire", key("b"), undefined]
        ]
      )
      const stamp = lines[0]!.versionstamp
      assert.strictEqual(lines[1]!.versionstamp, stamp)
      assert.isTrue(stamp > before)
      assert.strictEqual(stamp.length, before.length)
      assert.deepStrictEqual(yield* driver.outcome(stamp.slice(16)), { _tag: "Committed", versionstamp: stamp })
      assert.isDefined(yield* get(key("stays")))
      yield* TestClock.adjust(500)
      assert.isUndefined(yield* driver.sweep)
    })
  )

  it.effect("of many entries goes in steps and still removes all", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { stamped } = clientOf(driver)
      const total = 5_000
      yield* stamped(Array.from({ length: total }, (_, i) => set(key(i), "1", 1 + (i % 10))))
      yield* TestClock.adjust(10)
      let turns = 0
      const other = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.sync(() => turns++),
            Effect.yieldNow
          )
        )
      )
      const after = yield* driver.log.head
      assert.isUndefined(yield* driver.sweep)
      yield* Fiber.interrupt(other)
      assert.isAbove(turns, 1)
      const read = yield* driver.log.read({ after, watched: everything, limit: 2 * total })
      assert.strictEqual(linesOf(read).length, total)
    })
  )
})

describe("a counter", () => {
  it.effect("keeps its expiry when it is counted on", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { get, stamped } = clientOf(driver)
      yield* stamped([counter(key("n"), 1n, 100)])
      yield* TestClock.adjust(50)
      yield* stamped([sum(key("n"), 1n), { _tag: "Max", key: key("n"), operand: 9n, expireIn: undefined }])
      assert.strictEqual((yield* get(key("n")))?.expiresAt, 100)
      assert.deepStrictEqual((yield* get(key("n")))?.value, { _tag: "Counter", value: 9n })
    })
  )
})

describe("the change log", () => {
  it.effect(
    "holds one line per key and commit, none for a missing key's delete, and the entry as it is at reading",
    () =>
      Effect.gen(function* () {
        const driver = yield* makeKvDriver()
        const { get, stamped } = clientOf(driver)
        const after = yield* driver.log.head
        const one = yield* stamped([set(key("a")), set(key("a"), "2"), del(key("never")), set(key("b")), del(key("b"))])
        const two = yield* stamped([set(key("a"), "3")])
        const three = yield* stamped([del(key("never"))])
        assert.isTrue(one < two && two < three)
        const lines = linesOf(yield* driver.log.read({ after, watched: everything, limit: 10 }))
        const now = yield* get(key("a"))
        assert.deepStrictEqual(lines, [
          { key: key("a"), versionstamp: one, op: "put", entry: now },
          { key: key("a"), versionstamp: two, op: "put", entry: now }
        ])
      })
  )

  it.effect("is read in pieces that end between commits, and passes over other keys", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { stamped } = clientOf(driver)
      let after = yield* driver.log.head
      for (let i = 0; i < 20; i++) {
        yield* stamped([set(key("p", i, 0)), set(key("p", i, 1)), set(key("p", i, 2)), set(key("other", i))])
      }
      const seen: Array<Packed> = []
      const watched: Kv.Watched = { _tag: "Range", range: prefixRange(key("p")) }
      for (let more = true; more;) {
        const read = yield* driver.log.read({ after, watched, limit: 2 })
        const lines = linesOf(read)
        assert.strictEqual(lines.length % 3, 0)
        assert.isTrue(lines.every((line) => read._tag === "Lines" && driver.log.covers(read.next, line)))
        assert.isFalse(lines.some((line) => driver.log.covers(after, line)))
        for (const line of lines) seen.push(line.key)
        if (read._tag !== "Lines") return
        after = read.next
        more = read.more
      }
      assert.strictEqual(seen.length, 60)
      assert.strictEqual(new Set(seen).size, 60)
      assert.strictEqual(after, yield* driver.log.head)
      const keys: Kv.Watched = { _tag: "Keys", keys: new Set([key("other", 3)]) }
      const none = yield* driver.log.read({ after, watched: keys, limit: 2 })
      assert.deepStrictEqual(none, { _tag: "Lines", lines: [], next: after, more: false })
    })
  )

  it.effect("that has lost lines says so to whoever has not read them, and to nobody else", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver({ logLines: 10 })
      const { stamped } = clientOf(driver)
      const places: Array<{ readonly cursor: Kv.Cursor; readonly stamp: Kv.Versionstamp }> = []
      for (let i = 0; i < 30; i++) {
        const stamp = yield* stamped([set(key(i % 3)), set(key("b"))])
        places.push({ cursor: yield* driver.log.head, stamp })
      }
      for (const [i, { cursor, stamp }] of places.entries()) {
        const read = yield* driver.log.read({ after: cursor, watched: everything, limit: 100 })
        assert.strictEqual(read._tag, i < 24 ? "Trimmed" : "Lines", `place ${i}`)
        if (i >= 24) assert.strictEqual(linesOf(read).length, 2 * (29 - i))
        assert.strictEqual(yield* driver.log.locate(stamp), i < 24 ? undefined : cursor)
      }
      assert.isUndefined(
        yield* driver.log.locate(`${places[29]!.stamp.slice(0, 16)}${places[28]!.stamp.slice(16)}` as never)
      )
    })
  )

  it.effect("of another store, or a text that is no cursor, is Trimmed", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const other = yield* makeKvDriver()
      yield* clientOf(other).stamped([set(key("a"))])
      const foreign = yield* other.log.head
      const own = yield* driver.log.head
      const ahead = `${own.slice(0, 17)}${"f".padStart(16, "0")}`
      for (const after of [
        foreign,
        ahead,
        "",
        "x",
        own.slice(1),
        `${own}0`,
        own.replace(".", "-"),
        `${own.slice(0, -1)}z`
      ]) {
        const read = yield* driver.log.read({ after: after as Kv.Cursor, watched: everything, limit: 1 })
        assert.strictEqual(read._tag, "Trimmed", after)
      }
    })
  )

  it.effect("wakes those who wait for it once it has grown, without a timer, and not before", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { stamped } = clientOf(driver)
      const after = yield* driver.log.head
      const waiting = yield* Effect.forEach([1, 2, 3], () =>
        Effect.forkChild(driver.log.grown(after), { startImmediately: true })
      )
      yield* TestClock.adjust("1 hour")
      assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() === undefined))
      yield* Fiber.interrupt(waiting[2]!)
      yield* stamped([set(key("a"))])
      yield* Fiber.join(waiting[0]!)
      yield* Fiber.join(waiting[1]!)
      yield* driver.log.grown(after)
      const later = yield* Effect.forkChild(driver.log.grown(yield* driver.log.head), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(later.pollUnsafe())
      yield* stamped([set(key("a"), "1", 5)])
      yield* Fiber.join(later)
      const sweep = yield* Effect.forkChild(driver.log.grown(yield* driver.log.head), { startImmediately: true })
      yield* TestClock.adjust(5)
      yield* driver.sweep
      yield* Fiber.join(sweep)
    })
  )
})

describe("the outcome of a commit", () => {
  it.effect("is told by its id, and a repeated request is not applied twice", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { get } = clientOf(driver)
      const id = ids()()
      const request = { id, checks: [], mutations: [sum(key("n"), 1n)], size: 0 }
      const first = yield* driver.commit(request)
      assert.deepStrictEqual(yield* driver.outcome(id), first)
      assert.deepStrictEqual(yield* driver.commit(request), first)
      assert.deepStrictEqual((yield* get(key("n")))?.value, { _tag: "Counter", value: 1n })
    })
  )

  it.effect("is absent for an id that never came, which is refused from then on", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { get } = clientOf(driver)
      const id = ids()()
      assert.strictEqual(yield* driver.outcome(id), "absent")
      const late = yield* Effect.result(driver.commit({ id, checks: [], mutations: [set(key("a"))], size: 0 }))
      assert.isTrue(Result.isFailure(late) && late.failure.reason._tag === "Unavailable")
      assert.isUndefined(yield* get(key("a")))
      assert.strictEqual(yield* driver.outcome(id), "absent")
    })
  )

  it.effect("is unknown once it is forgotten, and only then", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver({ logLines: 5 })
      const nextId = ids()
      const { stamped } = clientOf(driver, nextId)
      const old = nextId()
      yield* driver.commit({ id: old, checks: [], mutations: [set(key("a"))], size: 0 })
      const stamps: Array<Kv.Versionstamp> = []
      for (let i = 0; i < 5; i++) stamps.push(yield* stamped([set(key("a"))]))
      assert.strictEqual(yield* driver.outcome(old), "unknown")
      assert.strictEqual(yield* driver.outcome(nextId()), "absent")
      assert.strictEqual(yield* driver.outcome(ids()()), "absent")
      const last = stamps[4]!
      assert.deepStrictEqual(yield* driver.outcome(last.slice(16)), { _tag: "Committed", versionstamp: last })
    })
  )
})

describe("the memory driver", () => {
  it.effect("refuses enqueue and ack steps without a queue, and applies nothing of such a commit", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { commit, get } = clientOf(driver)
      const error = yield* Effect.flip(commit([set(key("a")), { _tag: "Ack", queue: "q", id: "i", token: "t" }]))
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.include(error.message, "layer")
      assert.isUndefined(yield* get(key("a")))
      assert.isFalse(driver.capabilities.sharedQueue)
    })
  )

  it.effect("commits with a joined queue whole: a lost ack stops all of it, checks and counters come first", () =>
    Effect.gen(function* () {
      const applied: Array<string> = []
      const driver = yield* makeKvDriver({
        joined: {
          lostAck: (acks) => acks.find((ack) => ack.token === "lost"),
          apply: (mutations) => void applied.push(...mutations.map((mutation) => mutation._tag))
        }
      })
      const { commit, get, stamped } = clientOf(driver)
      const ack = (token: string): Kv.Mutation => ({ _tag: "Ack", queue: "q", id: "i", token })
      assert.isTrue(driver.capabilities.sharedQueue)
      assert.deepStrictEqual(yield* commit([set(key("a")), ack("held"), ack("lost")]), {
        _tag: "ClaimLost",
        queue: "q",
        id: "i"
      })
      const stale = [{ key: key("a"), versionstamp: "x" as Kv.Versionstamp }]
      assert.strictEqual((yield* commit([ack("lost")], stale))._tag, "Conflict")
      yield* stamped([set(key("json"))])
      const error = yield* Effect.flip(commit([ack("held"), sum(key("json"), 1n)]))
      assert.strictEqual(error.reason._tag, "NotACounter")
      assert.deepStrictEqual(applied, [])
      assert.isUndefined(yield* get(key("a")))
      yield* stamped([ack("held"), set(key("a"))])
      yield* stamped([ack("held")])
      assert.deepStrictEqual(applied, ["Ack", "Ack"])
      assert.isDefined(yield* get(key("a")))
    })
  )

  it.effect("answers Unavailable once its scope is closed, also to those who wait, and never an empty result", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const driver = yield* Scope.provide(makeKvDriver(), scope)
      const { commit, get } = clientOf(driver)
      const head = yield* driver.log.head
      const waiting = yield* Effect.forkChild(driver.log.grown(head), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      for (const effect of [
        Fiber.join(waiting),
        commit([set(key("a"))]),
        get(key("a")),
        driver.list(prefixRange("" as Packed), { limit: 1, reverse: false }),
        driver.sweep,
        driver.ping,
        driver.outcome("x"),
        driver.log.head,
        driver.log.grown(head)
      ]) {
        const error = yield* Effect.flip(effect as Effect.Effect<unknown, Kv.KvError>)
        assert.strictEqual(error.reason._tag, "Unavailable")
        assert.include(error.message, "its layer is closed")
      }
    })
  )

  it.effect("dies at once with logLines that is no positive integer", () =>
    Effect.gen(function* () {
      for (const logLines of [0, -1, 1.5, Number.NaN]) {
        const exit = yield* Effect.exit(makeKvDriver({ logLines }))
        assert.isTrue(Exit.isFailure(exit))
      }
    })
  )

  it.effect("keeps the clock of its layer, whatever clock its caller has", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.Kv
      yield* kv.set(["a"], 1, { expireIn: 100 })
      assert.strictEqual(yield* TestClock.withLive(kv.now), 0)
      assert.isTrue(yield* TestClock.withLive(kv.has(["a"])))
      yield* TestClock.adjust(100)
      assert.isFalse(yield* TestClock.withLive(kv.has(["a"])))
    }).pipe(Effect.provide(layerKv))
  )

  it.effect("lists and reads among 200,000 entries without looking at the others", () =>
    Effect.gen(function* () {
      const driver = yield* makeKvDriver()
      const { get, stamped } = clientOf(driver)
      const total = 200_000
      for (let i = 0; i < total; i += 2_000) {
        yield* stamped(Array.from({ length: 2_000 }, (_, n) => set(key("p", i + n), String(i + n))))
      }
      const range = prefixRange(key("p"))
      const first = yield* driver.list(range, { limit: 3, reverse: false })
      const last = yield* driver.list(range, { limit: 3, reverse: true })
      const texts = (entries: ReadonlyArray<Kv.Stored>) =>
        entries.map((entry) => (entry.value._tag === "Json" ? entry.value.text : ""))
      assert.deepStrictEqual(texts(first.entries), ["0", "1", "2"])
      assert.deepStrictEqual(texts(last.entries), ["199999", "199998", "199997"])
      const clock = performance.now()
      for (let i = 0; i < 2_000; i++) {
        yield* driver.list({ start: key("p", i * 100), end: range.end }, { limit: 3, reverse: false })
        yield* get(key("p", i * 100))
      }
      // 4,000 reads that each looked at all entries would take minutes.
      assert.isBelow(performance.now() - clock, 5_000)
    })
  )
})

/** What is particular to a queue over a Kv: other processes in between, failures of the store, its limits, its clock. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Latch, References, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Queue from "../../src/Queue.ts"
import { publication } from "../../src/testing/queueKit.ts"
import { commitUnknown, type Hooks, hooked, leftovers, memoryDriver, unavailable } from "./queueOverKvSupport.ts"

const q = "cases"
const all = { max: 100, start: 100 } as const
const none = { max: 0, start: 0 } as const
const lease = 10_000

const processOn = (driver: Kv.Driver, options?: Queue.KvQueueDriverOptions) =>
  Effect.gen(function* () {
    const kv = yield* Kv.make(driver)
    const queue = yield* Queue.makeKvQueueDriver(kv, options)
    const consumer = yield* queue.consumer(q, { lease, prefetch: 8 })
    return { kv, queue, consumer }
  })

/** Two processes over one store; the calls of the first have hooks. */
const pair = Effect.gen(function* () {
  const driver = yield* memoryDriver
  const hooks: Hooks = {}
  const a = yield* processOn(hooked(driver, hooks))
  const b = yield* processOn(driver)
  return { a, b, hooks, driver }
})

const ids = (claimed: ReadonlyArray<Queue.Claimed>) => claimed.map(({ message }) => message.id)
const ack = (claimed: Queue.Claimed) => ({
  id: claimed.message.id,
  token: claimed.token,
  outcome: { _tag: "ack" } as const
})
const reasonOf = <A>(effect: Effect.Effect<A, Queue.QueueError>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)
const quiet = Effect.provideService(References.MinimumLogLevel, "None")

describe("another process in between", () => {
  it.effect("takes a message that is about to be claimed: the claim goes on with its neighbours", () =>
    Effect.gen(function* () {
      const { a, b, hooks } = yield* pair
      yield* b.queue.publish(["1", "2", "3"].map((id) => publication(q, id)))
      let taken: ReadonlyArray<Queue.Claimed> = []
      hooks.beforeCommit = Effect.orDie(
        Effect.map(b.consumer.claim({ max: 2, start: 2 }), (claimed) => void (taken = claimed))
      )
      assert.deepStrictEqual(ids(yield* a.consumer.claim({ max: 3, start: 3 })), ["3"])
      assert.deepStrictEqual(ids(taken), ["1", "2"])
    })
  )

  it.effect("takes what was to start: the start of the one that moves up is marked all the same", () =>
    Effect.gen(function* () {
      const { a, b, hooks } = yield* pair
      yield* b.queue.publish(["1", "2"].map((id) => publication(q, id)))
      hooks.beforeCommit = Effect.orDie(b.consumer.claim({ max: 1, start: 0 }))
      assert.deepStrictEqual(ids(yield* a.consumer.claim({ max: 2, start: 1 })), ["2"])
      yield* TestClock.adjust(lease)
      const again = yield* b.consumer.claim(all)
      assert.deepStrictEqual(
        again.map((one) => [one.message.id, one.attempt, one.lostStarted, one.lostUnstarted]),
        [
          ["1", 1, 0, 1],
          ["2", 2, 1, 0]
        ]
      )
    })
  )

  it.effect("claims a head before an earlier message can take its place: it keeps the line", () =>
    Effect.gen(function* () {
      const { a: late, b: third, driver, hooks } = yield* pair
      const [claimerHooks, rankerHooks]: [Hooks, Hooks] = [{}, {}]
      const claimer = yield* processOn(hooked(driver, claimerHooks))
      const ranker = yield* processOn(hooked(driver, rankerHooks))
      const [accepted, claims] = [yield* Latch.make(false), yield* Latch.make(false)]
      // Accepted before the head, and committed behind it.
      hooks.beforeCommit = accepted.await
      const publishing = yield* Effect.forkChild(late.queue.publish([publication(q, "earlier", { group: "g" })]), {
        startImmediately: true
      })
      yield* TestClock.adjust(5)
      yield* third.queue.publish([publication(q, "head", { group: "g" })])
      assert.strictEqual((yield* third.queue.stats(q)).ready, 1)
      // A claim that has read the head, and not been sent.
      claimerHooks.beforeCommit = claims.await
      const claiming = yield* Effect.forkChild(claimer.consumer.claim(all), { startImmediately: true })
      yield* accepted.open
      yield* Fiber.join(publishing)
      rankerHooks.beforeCommit = Effect.andThen(claims.open, Effect.orDie(Fiber.join(claiming)))
      assert.deepStrictEqual((yield* ranker.queue.stats(q)).claimed, 1)
      const claimed = yield* Fiber.join(claiming)
      assert.deepStrictEqual(ids(claimed), ["head"])
      assert.deepStrictEqual(ids(yield* ranker.consumer.claim(all)), [], "one at a time")
      assert.deepStrictEqual((yield* claimer.consumer.settle(claimed.map(ack), none)).results, ["settled"])
      assert.deepStrictEqual(ids(yield* ranker.consumer.claim(all)), ["earlier"])
    })
  )

  it.effect("has put a later head there: an earlier message takes its place as long as nobody has claimed it", () =>
    Effect.gen(function* () {
      const { a: late, b, hooks } = yield* pair
      hooks.beforeCommit = Effect.gen(function* () {
        yield* TestClock.adjust(5)
        yield* b.queue.publish([publication(q, "head", { group: "g" })])
        assert.strictEqual((yield* b.queue.stats(q)).ready, 1)
      }).pipe(Effect.orDie)
      yield* late.queue.publish([publication(q, "earlier", { group: "g" })])
      const earlier = yield* b.consumer.claim(all)
      assert.deepStrictEqual(ids(earlier), ["earlier"])
      assert.deepStrictEqual(ids((yield* b.consumer.settle(earlier.map(ack), all)).claimed), ["head"])
    })
  )

  it.effect("joins a line and is ranked while its head ends: it is next", () =>
    Effect.gen(function* () {
      const { a, b, hooks } = yield* pair
      yield* a.queue.publish([publication(q, "head", { group: "g" })])
      const [head] = yield* a.consumer.claim(all)
      let joined = false
      // Behind the last look at the line, which is empty.
      const join = Effect.gen(function* () {
        joined = true
        yield* b.queue.publish([publication(q, "next", { group: "g" })])
        assert.strictEqual((yield* b.queue.stats(q)).ready, 1)
      }).pipe(Effect.orDie)
      // Nothing is ready, then nobody is in the line.
      let empty = 0
      hooks.afterList = (found) => (found === 0 && ++empty === 2 ? join : undefined)
      const { claimed, results } = yield* a.consumer.settle([ack(head!)], { max: 1, start: 1 })
      assert.isTrue(joined)
      assert.deepStrictEqual(results, ["settled"])
      assert.deepStrictEqual(ids([...claimed, ...(yield* b.consumer.claim(all))]), ["next"])
    })
  )

  it.effect("settles are tried again when a heartbeat comes in between", () =>
    Effect.gen(function* () {
      const { a, b, hooks } = yield* pair
      yield* a.queue.publish([publication(q, "1"), publication(q, "2")])
      const [one] = yield* a.consumer.claim({ max: 1, start: 1 })
      yield* TestClock.adjust(10)
      hooks.beforeCommit = Effect.orDie(b.consumer.extend([one!.token]))
      const answer = yield* a.consumer.settle([ack(one!)], { max: 1, start: 1 })
      assert.deepStrictEqual(answer.results, ["settled"])
      assert.deepStrictEqual(ids(answer.claimed), ["2"])
    })
  )

  it.effect("wakes a worker that waits, at once: by an enqueue, a release, a freed line, a resume", () =>
    Effect.gen(function* () {
      const { a, b } = yield* pair
      const waiting = Effect.forkChild(
        Effect.gen(function* () {
          while (true) {
            const claimed = yield* a.consumer.claim(all)
            if (claimed.length > 0) return claimed
            yield* a.consumer.ready
          }
        }),
        { startImmediately: true }
      )
      const wakes = Effect.fnUntraced(function* (what: Effect.Effect<unknown, Queue.QueueError>, id: string) {
        const fiber = yield* waiting
        yield* TestClock.adjust(1)
        assert.isUndefined(fiber.pollUnsafe())
        yield* what
        const claimed = yield* Fiber.join(fiber)
        assert.deepStrictEqual(ids(claimed), [id])
        yield* a.consumer.settle(claimed.map(ack), none)
      })
      yield* wakes(b.queue.publish([publication(q, "1")]), "1")
      yield* b.queue.publish([publication(q, "2")])
      const [two] = yield* b.consumer.claim(all)
      const release = { id: "2", token: two!.token, outcome: { _tag: "release", delay: 0 } } as const
      yield* wakes(b.consumer.settle([release], none), "2")
      yield* b.queue.publish([publication(q, "3", { group: "g" }), publication(q, "4", { group: "g" })])
      const [three] = yield* b.consumer.claim({ max: 1, start: 1 })
      yield* wakes(b.consumer.settle([ack(three!)], none), "4")
      yield* b.queue.pause(q)
      yield* b.queue.publish([publication(q, "5")])
      yield* wakes(b.queue.resume(q), "5")
    })
  )

  it.effect("accepts ids of a large batch meanwhile: each is accepted once", () =>
    Effect.gen(function* () {
      const { a, b, hooks } = yield* pair
      const batch = Array.from({ length: 100 }, (_, i) => publication(q, `m${i}`))
      hooks.beforeCommit = Effect.orDie(b.queue.publish([publication(q, "m7"), publication(q, "m70")]))
      const answers = yield* a.queue.publish(batch)
      assert.deepStrictEqual(
        answers.filter(({ duplicate }) => duplicate).map(({ id }) => id),
        ["m7", "m70"]
      )
      assert.strictEqual((yield* a.queue.stats(q)).ready, 100)
      const claimed = yield* a.consumer.claim(all)
      assert.strictEqual(new Set(ids(claimed)).size, 100)
    })
  )

  it.effect("accepts something all the time: a large batch gets through", () =>
    Effect.gen(function* () {
      const { a, b, hooks } = yield* pair
      let n = 0
      const busy: Effect.Effect<unknown> = Effect.suspend(() => {
        hooks.beforeCommit = busy
        return Effect.orDie(b.queue.publish([publication(q, `other${n++}`)]))
      })
      hooks.beforeCommit = busy
      const publishing = yield* Effect.forkChild(
        a.queue.publish(Array.from({ length: 50 }, (_, i) => publication(q, `m${i}`))),
        { startImmediately: true }
      )
      for (let i = 0; i < 1_000 && publishing.pollUnsafe() === undefined; i++) yield* TestClock.adjust(1)
      assert.lengthOf(yield* Fiber.join(publishing), 50)
      assert.strictEqual((yield* b.queue.stats(q)).ready, 50 + n)
    })
  )
})

describe("a store that fails", () => {
  it.effect("an enqueue of unknown outcome says so, and the same id adds nothing", () =>
    Effect.gen(function* () {
      const { a, hooks, kv } = yield* Effect.gen(function* () {
        const made: Hooks = {}
        const driver = hooked(yield* memoryDriver, made)
        const one = yield* processOn({ ...driver, outcome: () => Effect.succeed("unknown" as const) })
        return { a: one, hooks: made, kv: one.kv }
      })
      hooks.afterCommit = commitUnknown("0".repeat(20))
      const reason = yield* reasonOf(a.queue.publish([publication(q, "1")]))
      assert.strictEqual(reason._tag, "EnqueueUnknown")
      assert.deepStrictEqual(reason._tag === "EnqueueUnknown" && reason.ids, ["1"])
      assert.deepStrictEqual(yield* a.queue.publish([publication(q, "1")]), [{ id: "1", duplicate: true }])
      assert.strictEqual((yield* a.queue.stats(q)).ready, 1)
      assert.strictEqual((yield* leftovers(kv, q))["m"], 1)
    })
  )

  it.effect("enqueues that share a commit share neither a refusal nor their answers", () =>
    Effect.gen(function* () {
      const driver = yield* memoryDriver
      const slow: Kv.Driver = { ...driver, commit: (one) => Effect.andThen(Effect.sleep(10), driver.commit(one)) }
      const { queue } = yield* processOn(slow)
      const large = JSON.stringify("x".repeat(70_000))
      const enqueue = (id: string, payload = "1") => Effect.result(queue.publish([publication(q, id, { payload })]))
      const enqueuing = yield* Effect.forkChild(
        Effect.all(
          [
            ...["1", "2", "3", "4", "5"].map((id) => enqueue(id)),
            enqueue("large", large),
            enqueue("6"),
            // Already there, and twice in one commit.
            enqueue("1"),
            enqueue("6")
          ],
          { concurrency: "unbounded" }
        )
      )
      for (let i = 0; i < 20; i++) yield* TestClock.adjust(10)
      const answers = (yield* Fiber.join(enqueuing)).map((answer) =>
        answer._tag === "Success"
          ? answer.success.map(({ duplicate, id }) => `${id} ${duplicate}`)
          : answer.failure.reason._tag
      )
      assert.deepStrictEqual(answers, [
        ...["1", "2", "3", "4", "5"].map((id) => [`${id} false`]),
        "TooLarge",
        ["6 false"],
        ["1 true"],
        ["6 true"]
      ])
      assert.strictEqual((yield* queue.stats(q)).ready, 6)
    })
  )

  it.effect("of enqueues that share a commit of unknown outcome each names its own ids", () =>
    Effect.gen(function* () {
      const driver = yield* memoryDriver
      let lost = false
      const { queue } = yield* processOn({
        ...driver,
        outcome: () => Effect.succeed("unknown"),
        commit: (one) =>
          Effect.andThen(
            Effect.sleep(10),
            Effect.tap(driver.commit(one), () => (lost ? commitUnknown(one.id) : Effect.void))
          )
      })
      const enqueuing = yield* Effect.forkChild(
        Effect.forEach(["1", "2", "3", "4", "5", "6"], (id) => Effect.result(queue.publish([publication(q, id)])), {
          concurrency: "unbounded"
        })
      )
      yield* TestClock.adjust(10)
      lost = true
      yield* TestClock.adjust(10)
      const answers = (yield* Fiber.join(enqueuing)).map((answer): unknown =>
        answer._tag === "Failure" && answer.failure.reason._tag === "EnqueueUnknown"
          ? answer.failure.reason.ids
          : "accepted"
      )
      assert.deepStrictEqual(answers, ["accepted", "accepted", "accepted", "accepted", ["5"], ["6"]])
    })
  )

  it.effect("a batch of several commits tells what was accepted before the failure", () =>
    Effect.gen(function* () {
      const { a, hooks } = yield* pair
      const batch = Array.from({ length: 600 }, (_, i) => publication(q, `m${i}`))
      hooks.afterCommit = Effect.sync(() => void (hooks.beforeCommit = unavailable("commit")))
      const reason = yield* reasonOf(a.queue.publish(batch))
      assert.strictEqual(reason._tag, "PartiallyEnqueued")
      if (reason._tag !== "PartiallyEnqueued") return
      assert.isAbove(reason.accepted.length, 100)
      assert.strictEqual(reason.accepted.length + reason.rejected.length, 600)
      assert.strictEqual((yield* a.queue.stats(q)).ready, reason.accepted.length)
      const rest = new Set(reason.rejected)
      yield* a.queue.publish(batch.filter(({ message }) => rest.has(message.id)))
      assert.strictEqual((yield* a.queue.stats(q)).ready, 600)
      assert.deepStrictEqual(
        ids(yield* a.consumer.claim(all)),
        batch.slice(0, 100).map(({ message }) => message.id),
        "in their order"
      )
    })
  )

  it.effect("what a failed batch has settled is settled when it comes again, and its claims are handed out", () =>
    Effect.gen(function* () {
      const { a, hooks } = yield* pair
      yield* a.queue.publish(Array.from({ length: 16 }, (_, i) => publication(q, `m${String(i).padStart(2, "0")}`)))
      const first = yield* a.consumer.claim({ max: 12, start: 12 })
      // Twelve settles are two commits of eight checks at most: one goes through.
      hooks.afterCommit = Effect.sync(() => void (hooks.beforeCommit = unavailable("commit")))
      const exit = yield* Effect.exit(a.consumer.settle(first.map(ack), none))
      const second = yield* a.consumer.settle(first.map(ack), { max: 4, start: 4 })
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(new Set(second.results), new Set(["settled"]))
      assert.deepStrictEqual(ids(second.claimed), ["m12", "m13", "m14", "m15"])
      assert.strictEqual((yield* a.queue.stats(q)).claimed, 4)
    })
  )

  it.effect("damage stops nobody: an index entry without its message, a message without its body", () =>
    Effect.gen(function* () {
      const { a } = yield* pair
      yield* a.queue.publish(["1", "2", "3"].map((id) => publication(q, id)))
      yield* a.queue.publish([publication(q, "4", { delay: 5 }), publication(q, "5", { group: "g" })])
      yield* a.queue.stats(q)
      const root = ["~effect-seams/queue", q] as const
      const find = Effect.fnUntraced(function* (kind: string, id: string) {
        const { entries } = yield* a.kv.page({ prefix: [...root, "m"] }, { limit: 100 })
        const found = entries.find(({ value }) => (value as { readonly id: string }).id === id)!
        return [...root, kind, found.key.at(-1)!] as const
      })
      yield* a.kv.delete(yield* find("b", "2"))
      for (const id of ["1", "4", "5"]) yield* a.kv.delete(yield* find("m", id))
      yield* TestClock.adjust(5)
      assert.deepStrictEqual(ids(yield* a.consumer.claim(all)), ["3"])
      for (let i = 0; i < 3; i++) assert.deepStrictEqual(yield* a.consumer.claim(all), [])
      const waiting = yield* Effect.forkChild(a.consumer.ready, { startImmediately: true })
      yield* TestClock.adjust(1)
      assert.isUndefined(waiting.pollUnsafe(), "nothing is left to look at")
      yield* a.queue.publish([publication(q, "6", { group: "g" })])
      assert.deepStrictEqual(ids(yield* a.consumer.claim(all)), ["6"])
    }).pipe(quiet)
  )
})

describe("the limits of the store", () => {
  it.effect("a batch of any size and content is accepted, in order, within the portable floor", () =>
    Effect.gen(function* () {
      const { a } = yield* pair
      const long = "\u00e4\u0000".repeat(120)
      const batch = Array.from({ length: 1_200 }, (_, i) =>
        publication(q, `${String(i).padStart(4, "0")}${i % 3 === 0 ? long : ""}`, {
          payload: JSON.stringify("x".repeat(i % 50 === 0 ? 50_000 : i % 400)),
          ...(i % 4 === 0 ? { group: `g${i % 40}${long}` } : undefined),
          ...(i % 5 === 0
            ? { dedupe: { key: `k${i}${long}`, window: 1_000, onDuplicate: "replace" } as const }
            : undefined),
          ...(i % 7 === 0 ? { ttl: 100_000 } : undefined)
        })
      )
      const answers = yield* a.queue.publish(batch)
      assert.isTrue(answers.every(({ duplicate }) => !duplicate))
      assert.strictEqual((yield* a.queue.stats(q)).ready, 1_200)
      const again = yield* a.queue.publish(batch)
      assert.isTrue(again.every(({ duplicate }) => duplicate))
      const seen: Array<string> = []
      for (let claimed = yield* a.consumer.claim(all); claimed.length > 0;) {
        seen.push(...ids(claimed))
        claimed = (yield* a.consumer.settle(claimed.map(ack), all)).claimed
      }
      assert.strictEqual(seen.length, 1_200)
      assert.strictEqual(new Set(seen).size, 1_200)
      const free = seen.filter((id) => Number(id.slice(0, 4)) % 4 !== 0)
      assert.deepStrictEqual(free, free.toSorted())
      const { i: _, k: __, ...left } = yield* leftovers(a.kv, q)
      assert.deepStrictEqual(left, { v: 1, wake: 1 })
    })
  )

  it.effect("a message of maxMessage bytes is accepted; what does not fit with its attributes is TooLarge", () =>
    Effect.gen(function* () {
      const { a } = yield* pair
      const { maxMessage } = a.queue.capabilities
      assert.isAbove(maxMessage, 60_000)
      const payload = JSON.stringify("x".repeat(maxMessage - 2))
      yield* a.queue.publish([publication(q, "1", { payload })])
      const [one] = yield* a.consumer.claim(all)
      assert.strictEqual(one!.message.payload, payload)
      const reason = yield* reasonOf(
        a.queue.publish([publication(q, "2", { payload, meta: { m: "y".repeat(9_000) } })])
      )
      assert.strictEqual(reason._tag, "TooLarge")
      assert.strictEqual((yield* a.queue.stats(q)).ready, 0)
    })
  )

  it.effect(
    "ids, groups and keys of any length and content stay apart, and a payload is kept to the last half character",
    () =>
      Effect.gen(function* () {
        const { a } = yield* pair
        const long = "x".repeat(5_000)
        const dedupe = (key: string) => ({ key, window: 1_000, onDuplicate: "keep" }) as const
        const answers = yield* a.queue.publish([
          publication(q, "1", { group: `${long}1`, dedupe: dedupe(`${long}1`) }),
          publication(q, "2", { group: `${long}2`, dedupe: dedupe(`${long}2`) }),
          publication(q, "3", { group: "\ud800", dedupe: dedupe("\ud800") }),
          publication(q, "4", { group: "\ud801", dedupe: dedupe("\ud801"), payload: '"\udc00"' }),
          publication(q, "5", { dedupe: dedupe(`${long}1`) })
        ])
        assert.deepStrictEqual(
          answers.map(({ duplicate }) => duplicate),
          [false, false, false, false, true]
        )
        const claimed = yield* a.consumer.claim(all)
        assert.deepStrictEqual(
          claimed.map(({ message }) => [message.id, message.group, message.payload]),
          [
            ["1", `${long}1`, '"1"'],
            ["2", `${long}2`, '"2"'],
            ["3", "\ud800", '"3"'],
            ["4", "\ud801", '"\udc00"']
          ]
        )
      })
  )

  it.effect("an endless reason is cut, and the letter kept", () =>
    Effect.gen(function* () {
      const { a } = yield* pair
      yield* a.queue.publish([publication(q, "1")])
      const [one] = yield* a.consumer.claim(all)
      const endless = "\u0001".repeat(100_000)
      const outcome = { _tag: "deadLetter", reason: endless, error: endless } as const
      assert.deepStrictEqual((yield* a.consumer.settle([{ id: "1", token: one!.token, outcome }], none)).results, [
        "settled"
      ])
      const letter = yield* a.queue.deadLetters.get(q, "1")
      assert.include(letter!.reason, "cut, 100000 characters")
    })
  )
})

describe("processes with clocks of their own", () => {
  /** A store of several processes without a clock, as the process sees it whose clock is off by so much. */
  const skewed = (driver: Kv.Driver, off: number) =>
    processOn({
      ...driver,
      capabilities: { ...driver.capabilities, shared: true, clock: "process" },
      now: Effect.map(Clock.currentTimeMillis, (time) => time + off)
    })

  it.effect(
    "a claim is not lost to a clock that is ahead, and taken over within two leases when its process died",
    () =>
      Effect.gen(function* () {
        const driver = yield* memoryDriver
        const owner = yield* skewed(driver, 0)
        const ahead = yield* skewed(driver, 3_600_000)
        yield* owner.queue.publish([publication(q, "1")])
        const [one] = yield* owner.consumer.claim(all)
        for (let i = 0; i < 12; i++) {
          assert.deepStrictEqual(yield* ahead.consumer.claim(all), [], "the owner lives")
          yield* TestClock.adjust(lease / 3)
          assert.deepStrictEqual(yield* owner.consumer.extend([one!.token]), ["held"])
        }
        const waiting = yield* Effect.forkChild(ahead.consumer.ready, { startImmediately: true })
        yield* TestClock.adjust(lease - 1)
        assert.deepStrictEqual(yield* ahead.consumer.claim(all), [])
        yield* TestClock.adjust(lease + 1)
        assert.isDefined(waiting.pollUnsafe(), "somebody who waits is woken by it")
        const [again] = yield* ahead.consumer.claim(all)
        assert.deepStrictEqual([again?.message.id, again?.attempt], ["1", 2])
        assert.deepStrictEqual((yield* owner.consumer.settle([ack(one!)], none)).results, ["lost"])
      })
  )
})

describe("the end of a driver", () => {
  it.effect("ends its watch, also while a worker of a killed process has not closed its line", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.make(yield* memoryDriver)
      const watches = Effect.map(kv.health, ({ parts }) => parts.filter((part) => part.name.includes("watcher")).length)
      const [scope, forever] = [yield* Scope.make(), yield* Scope.make()]
      const queue = yield* Scope.provide(Queue.makeKvQueueDriver(kv), scope)
      const line = Scope.provide(queue.consumer(q, { lease, prefetch: 1 }), forever)
      const consumer = yield* line
      yield* line
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* watches, 1, "one for all workers of a queue")
      const waiting = yield* Effect.forkChild(consumer.ready, { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* watches, 0)
      yield* Fiber.interrupt(waiting)
    })
  )
})

describe("options", () => {
  it.effect("namespaces are apart", () =>
    Effect.gen(function* () {
      const driver = yield* memoryDriver
      const one = yield* processOn(driver)
      const other = yield* processOn(driver, { namespace: "other" })
      yield* one.queue.publish([publication(q, "1")])
      assert.deepStrictEqual(yield* other.consumer.claim(all), [])
      assert.deepStrictEqual(yield* other.queue.publish([publication(q, "1")]), [{ id: "1", duplicate: false }])
      assert.deepStrictEqual(ids(yield* one.consumer.claim(all)), ["1"])
    })
  )

  it.effect("what is no namespace or no interval is refused", () =>
    Effect.gen(function* () {
      const kv = yield* Kv.make(yield* Memory.makeKvDriver())
      for (const options of [
        { namespace: "" },
        { namespace: "x".repeat(101) },
        { pollInterval: 5 },
        { pollInterval: -1 }
      ])
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Queue.makeKvQueueDriver(kv, options))))
      yield* Queue.makeKvQueueDriver(kv, { namespace: "a b", pollInterval: "Infinity" })
    })
  )
})

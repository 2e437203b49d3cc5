/**
 * One of several processes that share a queue and a Kv. Arguments: the backend, its options as JSON, the name of this runtime, the
 * names of all. Says `ready`; once told it enqueues, increments by compare-and-set and works, all at the same time; says `saw` with the state that its
 * watch came to when everybody was done, and ends.
 */
import { Deferred, Effect, Option, Schema, Stream } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Queue from "../../../src/Queue.ts"
import { say, told } from "../../layers/sqlite/children/shared.ts"
import {
  type Backend,
  incrementsEach,
  type Message,
  messagesEach,
  messagesOf,
  openBackend,
  type State
} from "../sharing.ts"

const [backend = "", options = "{}", me = "", names = ""] = process.argv.slice(2)
const all = names.split(",")

const Jobs = Queue.define("shared", { payload: Schema.Struct({ from: Schema.String, n: Schema.Finite }) })
const Numbers = Kv.collection(["share", "state"], { key: Schema.String, value: Schema.Finite })

const isDone = (state: State) =>
  state["increments"] === incrementsEach * all.length &&
  all.reduce((sum, name) => sum + (state[`handled ${name}`] ?? 0), 0) >= messagesEach * all.length &&
  messagesOf(all).every(({ from, n }) => (state[`seen ${from} ${n}`] ?? 0) >= 1) &&
  all.every((name) => state[`produced ${name}`] === messagesEach)

const program = Effect.gen(function* () {
  const everybodyStarted = yield* Deferred.make<void>()
  const everythingSeen = yield* Deferred.make<State>()
  const kv = yield* Kv.Kv

  // Entries of the collection are numbers, counters beside it are bigints.
  const state: Record<string, number> = {}
  yield* kv.watchPrefix(["share"]).pipe(
    Stream.runForEach((change) =>
      Effect.gen(function* () {
        if (change._tag !== "Put") return
        state[change.entry.key.slice(2).join(" ")] = Number(change.entry.value)
        if (all.every((name) => state[`started ${name}`] === 1)) yield* Deferred.succeed(everybodyStarted, undefined)
        if (isDone(state)) yield* Deferred.succeed(everythingSeen, { ...state })
      })
    ),
    Effect.forkScoped
  )

  // A handler waits until each process holds a message, so none can be too late for its share.
  const handle = ({ from, n }: Message) =>
    Effect.gen(function* () {
      yield* Numbers.set(`started ${me}`, 1)
      yield* Deferred.await(everybodyStarted)
      yield* Kv.atomic([
        Kv.sum(["share", "counters", "seen", from, n], 1n),
        Kv.sum(["share", "counters", "handled", me], 1n)
      ])
    })

  const produce = Effect.gen(function* () {
    const mine = messagesOf([me])
    const half = mine.length / 2
    const ids = [
      ...(yield* Effect.forEach(mine.slice(0, half), (message) => Jobs.enqueue(message))),
      ...(yield* Jobs.enqueueAll(mine.slice(half)))
    ]
    yield* Numbers.set(`produced ${me}`, new Set(ids).size)
  })

  const increment = Numbers.update("increments", (old) => Effect.succeed(Option.getOrElse(old, () => 0) + 1)).pipe(
    Effect.repeat({ times: incrementsEach - 1 })
  )

  yield* say("ready")
  yield* told
  yield* Effect.all([produce, increment, Deferred.await(everythingSeen)], { concurrency: "unbounded" }).pipe(
    Effect.provide(Jobs.worker(handle, { concurrency: 4 }))
  )
  yield* say(`saw ${JSON.stringify(yield* Deferred.await(everythingSeen))}`)
})

const layer = await openBackend(backend as Backend, options)
await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(layer)))

/**
 * A process that works under `Kv.once` and `Kv.withLock` over one SQLite file until it is killed. It says what it begins and what it
 * has committed; every commit also writes its own line into the store, so that the test can judge what really happened.
 */
import { Effect, Option, Random, Schema } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Sqlite from "../../../src/layers/sqlite/index.ts"

const [filename = "", name = ""] = process.argv.slice(2)
const lease = 1_000

const say = (...words: ReadonlyArray<string | number | bigint>) =>
  Effect.sync(() => void process.stdout.write(`${words.join(" ")}\n`))

/** Under the lock: two commits with a pause between them, each one a line of the log with the token. */
const locked = Kv.withLock(["proof"], { lease })((lock) =>
  Effect.gen(function* () {
    yield* say("hold", lock.token)
    for (const half of ["first", "second"]) {
      yield* Kv.transact(
        Effect.gen(function* () {
          const kv = yield* Kv.Kv
          const line = yield* kv.get(["line"])
          const next = Option.isSome(line) ? (line.value.value as number) + 1 : 1
          yield* Kv.atomic([
            Kv.check(["line"], line),
            lock.check,
            Kv.set(["line"], next),
            Kv.set(["log", next], { token: String(lock.token), name, half })
          ])
        })
      )
      yield* Effect.sleep(yield* Random.nextIntBetween(5, 40))
    }
    yield* say("held", lock.token)
  })
)

/** Idempotency keys in their order; each effect adds one to the counter of its key in the commit that keeps its result. */
const counted = (n: number) =>
  Kv.once(["order", n], { success: Schema.String, lease })((run) =>
    Effect.gen(function* () {
      yield* say("begin", n)
      yield* Kv.sum(["begun", n], 1n)
      yield* Effect.sleep(yield* Random.nextIntBetween(5, 40))
      yield* Kv.atomic([Kv.sum(["done", n], 1n), run.complete(name)])
      return name
    })
  )

/** The same without the commit: what it does may be done twice, its result is one. */
const plain = (n: number) =>
  Kv.once(["plain", n], { success: Schema.String, lease })(
    Effect.gen(function* () {
      yield* Kv.sum(["plain", n], 1n)
      yield* Effect.sleep(yield* Random.nextIntBetween(5, 40))
      return `${name} ${n}`
    })
  )

const forever = <E>(effect: Effect.Effect<void, E, Kv.Kv>) =>
  Effect.forever(Effect.catch(effect, (error) => say("error", String(error))))

const program = Effect.gen(function* () {
  yield* say("ready")
  let n = 0
  yield* Effect.all(
    [
      forever(locked),
      forever(
        Effect.suspend(() => {
          n++
          return Effect.gen(function* () {
            yield* say("result", n, yield* counted(n))
            yield* say("plain", n, yield* plain(n))
          })
        })
      )
    ],
    { concurrency: 2 }
  )
})

await Effect.runPromise(program.pipe(Effect.provide(Sqlite.layerKv({ filename, tracing: false }))))

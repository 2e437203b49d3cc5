/** What another process does at a store: `work.ts <what> <path> [number]`. The access token of a server comes by the environment. */
import { Effect, Option, Result, Stream } from "effect"
import * as Kv from "../../../../src/Kv.ts"
import * as DenoKv from "../../../../src/layers/denokv/index.ts"
import { final, grow } from "./shared.ts"

const [, , what, path = "", number = "0"] = process.argv
const say = (line: string) => Effect.sync(() => console.log(line))

/** Read, add one, write if nobody else did; beside it a counter that nobody reads. */
const increment = Kv.transact(
  Effect.gen(function* () {
    const kv = yield* Kv.Kv
    const old = yield* kv.get(["n"])
    const next = Option.match(old, { onNone: () => 1, onSome: (entry) => (entry.value as number) + 1 })
    yield* Kv.atomic([Kv.check(["n"], old), Kv.set(["n"], next), Kv.sum(["count"], 1n)])
  })
)

const works: Readonly<Record<string, Effect.Effect<void, unknown, Kv.Kv>>> = {
  increment: Effect.gen(function* () {
    yield* say("ready")
    for (let i = 0; i < Number(number); i++) yield* increment
    yield* say("done")
  }),
  watch: Effect.gen(function* () {
    const kv = yield* Kv.Kv
    const state = new Map<string, unknown>()
    yield* kv.watchPrefix(["w"]).pipe(
      Stream.tap((change) => (change._tag === "Synced" ? say("synced") : Effect.void)),
      Stream.tap((change) =>
        Effect.sync(() => {
          if (change._tag === "Put") state.set(String(change.entry.key[1]), change.entry.value)
          if (change._tag === "Delete" || change._tag === "Expire") state.delete(String(change.key[1]))
        })
      ),
      Stream.takeUntil(() => state.get("end") === true),
      Stream.runDrain
    )
    yield* say(`state ${final(state)}`)
  }),
  /** Commits that do not fit one write of Deno KV, for ever. */
  grow: Effect.gen(function* () {
    yield* say("ready")
    for (let i = 1; ; i++) {
      yield* Kv.atomic(grow(i))
      yield* say(`did ${i}`)
    }
  }),
  write: Effect.gen(function* () {
    const kv = yield* Kv.Kv
    yield* kv.set(["from", number, "json"], { text: "\u00e4\u{1f600}", list: [1, null, true] })
    yield* kv.set(["from", number, "bytes"], Uint8Array.of(0, 255, 7))
    yield* kv.set(["from", number, "large"], new Uint8Array(65_536).fill(3))
    yield* Kv.sum(["from", number, "counter"], 2n ** 62n)
    yield* kv.set(["from", number, "timed"], 1, { expireIn: "1 hour" })
    yield* say("done")
  }),
  /** Opens, watches, leaves: the process must end by itself. */
  leave: Effect.gen(function* () {
    const kv = yield* Kv.Kv
    yield* kv.set(["left"], 1)
    yield* kv.watch([["left"]]).pipe(
      Stream.takeUntil((change) => change._tag === "Synced"),
      Stream.runDrain
    )
    // A watch that waits is interrupted by the end of the program.
    yield* Effect.forkScoped(Stream.runDrain(kv.watchPrefix(["left"], { initial: false }))).pipe(
      Effect.andThen(Effect.sleep(200)),
      Effect.scoped
    )
    yield* say("leaving")
  })
}

const work = works[what ?? ""]
if (work === undefined) throw new Error(`there is no work ${what}`)
const outcome = await Effect.runPromise(Effect.result(Effect.provide(work, DenoKv.layerKv({ path, tracing: false }))))
if (Result.isFailure(outcome)) {
  const error = outcome.failure
  console.log(`failed ${error instanceof DenoKv.DenoKvError ? error.reason._tag : ""} ${String(error)}`)
}

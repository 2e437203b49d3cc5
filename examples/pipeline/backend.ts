/**
 * What stands behind the program. One line says it, and names no technology: the environment does. With nothing set all is in one file; with
 * REDIS_URI on that server; with RABBITMQ_URI the messages go through that broker, and the rest stays where it was.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
// Installed, a program writes: import { Discovery, Kv, Queue } from "effect-seams"
import * as Discovery from "../../src/Discovery.ts"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"

/** Where no commit can hold messages, they are relayed behind it (see commit.ts). */
const outbox = Layer.unwrap(
  Effect.map(Effect.serviceOption(Kv.SharedQueue), (shared): typeof Queue.layerOutbox | Layer.Layer<never> =>
    Option.isSome(shared) ? Layer.empty : Queue.layerOutbox
  )
)

/** What was chosen is told at the end, with the table; a log of it would stand between the lines of the view. */
const quiet = Layer.succeed(References.MinimumLogLevel, "Warn")

/** The job only looks, what it finds is in the store: a scheduler of this process will do. */
export const backend = (data: string) =>
  Layer.provideMerge(
    outbox,
    Layer.provide(Discovery.layerWith({ namespace: "pipeline", sqlite: { path: data }, cron: "memory" }), quiet)
  )

const show = (choice: Discovery.Choice): string =>
  choice.backend === "sqlite" ? choice.address : `${choice.backend} at ${choice.address} (${choice.source})`

/** Where it is kept, for people. */
export const place = Effect.gen(function* () {
  const choices = yield* Effect.flatMap(Discovery.Report, (report) => report.choices)
  const kv = choices.find(({ seam }) => seam === "kv")
  const queue = choices.find(({ seam }) => seam === "queue")
  if (kv === undefined || queue === undefined) return "an unknown place"
  return queue.backend === kv.backend && queue.address === kv.address
    ? show(kv)
    : `${show(kv)}, messages in ${show(queue)}`
})

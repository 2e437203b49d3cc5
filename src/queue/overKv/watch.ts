/** Learning of changes that other processes make: one watch per queue, shared by its workers of one driver. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { background } from "../../internal/background.ts"
import type { HealthRegistry, PartHandle } from "../../internal/health.ts"
import type { KvError } from "../../kv/KvError.ts"
import type { QueueError } from "../QueueError.ts"
import { queueError } from "./changes.ts"
import { type QueuePlace, readMany } from "./place.ts"
import { foundVersion } from "./stats.ts"
import { present, sleepUntil } from "./tend.ts"

const longestRest = 1_000

/** Turns what the wake key shows into notifications. What this driver wrote it has told its own waiters already. */
const follow = (place: QueuePlace, part: PartHandle): Effect.Effect<void, KvError> =>
  Stream.runForEach(place.kv.watch([place.keys.wake]), (change) =>
    Effect.suspend(() => {
      const own = change._tag === "Put" && change.entry.value === place.instance
      if (change._tag !== "Progress" && !own) place.signal.raise()
      return part.up
    })
  )

interface Watching {
  users: number
  readonly scope: Scope.Closeable
}

/** Keeps the watch of a queue open for as long as somebody uses it, and the driver's scope is open. */
export const makeWatches = (
  health: HealthRegistry,
  driver: Scope.Scope
): ((place: QueuePlace) => Effect.Effect<void, never, Scope.Scope>) => {
  const open = new Map<string, Watching>()
  const use = (place: QueuePlace) =>
    Effect.gen(function* () {
      const known = open.get(place.queue)
      if (known !== undefined) return void known.users++
      const scope = yield* Scope.fork(driver)
      open.set(place.queue, { users: 1, scope })
      yield* Scope.provide(
        background(`watch of queue ${place.queue}`, health, (part) => follow(place, part)),
        scope
      )
    })
  const leave = (place: QueuePlace) =>
    Effect.suspend(() => {
      const watching = open.get(place.queue)
      if (watching === undefined || --watching.users > 0) return Effect.void
      open.delete(place.queue)
      return Scope.close(watching.scope, Exit.void)
    })
  return (place) => Effect.acquireRelease(use(place), () => leave(place))
}

/** The number of changes of a queue, after all that is due has been done. */
export const versionOf = (place: QueuePlace): Effect.Effect<number, QueueError> =>
  Effect.andThen(
    present(place, "activity"),
    Effect.map(readMany(place, "activity", [place.keys.version]), ([entry]) => foundVersion(entry))
  )

/** Completes when the version of a queue is another one. */
export const activity = (
  place: QueuePlace,
  version: number,
  pollInterval: number | undefined
): Effect.Effect<void, QueueError> =>
  Effect.gen(function* () {
    const changed = place.kv.watch([place.keys.version]).pipe(
      Stream.filter((change) => {
        if (change._tag === "Put") return Number(change.entry.value) !== version
        return change._tag === "Delete" || change._tag === "Expire" || change._tag === "Reset"
      }),
      Stream.runHead,
      Effect.mapError(queueError(place.queue, place.kv, "activity"))
    )
    const time: Effect.Effect<void, QueueError> = Effect.gen(function* () {
      while (true) {
        const seen = yield* present(place, "activity")
        const [entry] = yield* readMany(place, "activity", [place.keys.version])
        if (foundVersion(entry) !== version) return
        yield* sleepUntil(seen.next, seen, pollInterval ?? Number.POSITIVE_INFINITY)
      }
    })
    yield* Effect.raceFirst(time, changed)
    // Who counts at every change of a long queue would do nothing else: counting gets a sixth of the time.
    const { took } = place.counting
    if (took >= 1) yield* Effect.sleep(Math.min(took * 5, longestRest))
  })

/**
 * How data and messages go together. Where one store has both, a message or its ack is a step of the commit. With two stores a message goes
 * through the outbox of the store, and the ack comes behind the commit: a message may then be handled twice, and is counted once all the same,
 * since the result says which scan it was counted for.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
// Installed, a program writes: import { Kv, Queue } from "effect-seams"
import * as Kv from "../../src/Kv.ts"
import type * as Queue from "../../src/Queue.ts"
import { Files, type FoundFile, readTotals, Results, sameVersion, Seen, type Version } from "./model.ts"

/** Provided by a layer that has both seams over one store, and by no other. */
const shared = Effect.serviceOption(Kv.SharedQueue)

type DataStep = Kv.Check | Kv.Op<Kv.Versionstamp, Kv.KvError, never>

/** Commits with messages. */
export const commitFound = (steps: ReadonlyArray<DataStep>, files: ReadonlyArray<FoundFile>) =>
  Effect.flatMap(
    shared,
    Option.match({
      onNone: () => Kv.atomic([...steps, Kv.outbox(Files.enqueueAll(files))]),
      onSome: (one) =>
        // One version found twice by one scan is one message. The scan is part of the key: a file that was changed and changed
        // back is to be counted again, although its version is known to the queue.
        Kv.atomic([
          ...steps,
          Files.enqueueAll(files, ({ path, root, scan, version }) => ({
            dedupe: { key: `${root}\n${path}\n${version.mtime} ${version.size}\n${scan}` }
          }))
        ]).pipe(Effect.provideService(Kv.SharedQueue, one))
    })
  )

/** Commits with the ack of a message, where that can be: else the handler's success acks. */
export const commitCounted = (steps: ReadonlyArray<DataStep>, delivery: Queue.Delivery<FoundFile>) =>
  Effect.flatMap(
    shared,
    Option.match({
      onNone: () => Kv.atomic(steps),
      onSome: (one) => Effect.provideService(Kv.atomic([...steps, delivery.ack]), Kv.SharedQueue, one)
    })
  )

/** How many of the versions that were found are neither counted nor dead. */
const countOpen = Effect.fnUntraced(function* (root: string) {
  const open = new Map<string, Version>()
  yield* Stream.runForEach(Seen.list({ under: [root] }), ({ key, value }) =>
    Effect.sync(() => open.set(String(key.at(-1)), value))
  )
  const close = (path: string, version: Version) =>
    Effect.sync(() => {
      const found = open.get(path)
      if (found !== undefined && sameVersion(found, version)) open.delete(path)
    })
  yield* Stream.runForEach(Results.list({ under: [root] }), ({ key, value }) =>
    close(String(key.at(-1)), value.version)
  )
  if (open.size > 0)
    yield* Stream.runForEach(Files.deadLetters.list(), ({ payload }) =>
      Option.match(payload, {
        onNone: () => Effect.void,
        onSome: (file) => (file.root === root ? close(file.path, file.version) : Effect.void)
      })
    )
  return open.size
})

/** Waits until every file that was found is counted, or dead. */
export const awaitCounted = Effect.fn("awaitCounted")(function* (root: string) {
  // With two stores some messages may be in the outbox, and not every queue counts what is delayed or claimed: ask the store.
  if (Option.isSome(yield* shared)) return yield* Files.awaitIdle
  let before: bigint | undefined
  const look = Effect.gen(function* () {
    const { files } = yield* readTotals(root)
    // While the total grows there is no need to look at every file.
    const still = files.in === before
    before = files.in
    return still && (yield* countOpen(root)) === 0
  })
  yield* look.pipe(
    Effect.retry({ schedule: Schedule.spaced("1 second"), while: (error) => error.isRetryable }),
    Effect.repeat({ schedule: Schedule.spaced("200 millis"), while: (done) => !done })
  )
})

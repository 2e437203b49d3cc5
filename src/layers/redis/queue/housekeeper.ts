/** What nobody else does on an idle queue: its messages expire, and its dead letters are kept within their limits. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { messageExpired } from "../../../internal/queueMetrics.ts"
import type { ConnectionService } from "../connection.ts"
import type { RedisFault } from "../faults.ts"
import { registryKey } from "./keys.ts"
import type { Retention } from "../../../internal/retention.ts"
import { tendScript } from "./scripts.ts"

/** Each process looks at every queue of the namespace this often. */
export const housekeepingEvery = 30_000

export const forkHousekeeper = (
  { call, namespace, realClock, run }: ConnectionService,
  keysOf: (queue: string) => ReadonlyArray<string>,
  retention: Retention,
  registered: ReadonlySet<string>
): Effect.Effect<void, never, Scope.Scope> => {
  const tend = (queue: string): Effect.Effect<void, RedisFault> =>
    Effect.flatMap(run(tendScript, keysOf(queue), [retention.count, retention.age]), (reply) => {
      const [more, expired] = reply as readonly [number, number]
      return Effect.andThen(messageExpired(queue, expired), more === 1 ? tend(queue) : Effect.void)
    })
  const round = Effect.gen(function* () {
    // Again: the server may have been set back or emptied.
    if (registered.size > 0) yield* call("sadd", [registryKey(namespace), ...registered])
    const queues = (yield* call("smembers", [registryKey(namespace)])) as ReadonlyArray<Buffer>
    for (const queue of queues) yield* tend(queue.toString())
  })
  const loop = Effect.forever(
    Effect.gen(function* () {
      yield* Effect.sleep(housekeepingEvery * (0.5 + (yield* Random.next)))
      yield* round
    })
  )
  // An outage shows in the health of the queue; here it is waited out.
  return loop.pipe(
    Effect.retry(Schedule.spaced("5 seconds")),
    Effect.provideService(Clock.Clock, realClock),
    Effect.forkScoped,
    Effect.asVoid
  )
}

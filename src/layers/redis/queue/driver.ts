import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Driver } from "../../../queue/driver.ts"
import type { ConnectionService } from "../connection.ts"
import { RedisError, Unsupported } from "../errors.ts"
import type { QueueOptions } from "../options.ts"
import { refusalOf } from "../probe.ts"
import { modelKey } from "./keys.ts"
import { retentionOf } from "../../../internal/retention.ts"
import { makeScriptedDriver } from "./scriptedDriver.ts"
import { makeUnscriptedDriver } from "./unscriptedDriver.ts"

/**
 * The queue driver over a connection: scripts where the server runs them, else the queue that works over any Kv, on the Kv of this room.
 * A namespace remembers which of the two it holds; whoever would use the other is refused with `Unsupported`, since neither sees the
 * messages of the other. Dies with a `RangeError` when `deadLetterRetention` is unusable.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeQueueDriver = (
  connection: ConnectionService,
  options?: QueueOptions
): Effect.Effect<Driver, RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    const retention = yield* retentionOf(options)
    yield* holdModel(connection)
    return connection.server.scripts
      ? yield* makeScriptedDriver(connection, retention)
      : yield* makeUnscriptedDriver(connection, retention)
  })

const holdModel = (connection: ConnectionService): Effect.Effect<void, RedisError> => {
  const { address, call, namespace, server, slots } = connection
  const own = server.scripts ? `with scripts, slots: ${slots}` : "without scripts"
  const key = modelKey(namespace)
  return Effect.andThen(call("set", [key, own, "NX"]), call("get", [key])).pipe(
    Effect.mapError(refusalOf(address)),
    Effect.flatMap((found) =>
      String(found) === own
        ? Effect.void
        : Effect.fail(
            new RedisError({
              reason: new Unsupported({
                address,
                detail: `the queues of namespace ${namespace} are kept ${String(found)}, and this layer would keep them ${own}; give all processes of a namespace the same rights and the same "slots", or use another namespace`
              })
            })
          )
    )
  )
}

/** Writes that may be sent again when their answer was lost, since the second time changes nothing or fails its check. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { ConnectionService } from "../connection.ts"
import type { NativeFault } from "../faults.ts"
import type { NativeWrite } from "../native.ts"

/** Of a call's time: the rest is for finding out what became of it. */
const share = 0.5
const shortest = 20
const longest = 500

/** Whether the cause may pass within the time of a call. A local store has no such faults. */
export const mayPass = ({ kind }: ConnectionService, fault: NativeFault): boolean =>
  kind === "remote" && (fault.kind === "unknown" || fault.kind === "unsent")

/** `undefined`: a check did not hold, maybe because the first attempt went through. */
export const again = (
  connection: ConnectionService,
  write: NativeWrite
): Effect.Effect<string | undefined, NativeFault> =>
  Effect.catchIf(
    connection.write(write),
    (fault) => mayPass(connection, fault),
    (fault) => patiently(connection, connection.write(write), fault)
  )

/** Tries again, later and later with jitter, for the share of a call's time that is meant for it. */
export const patiently = <A>(
  connection: ConnectionService,
  effect: Effect.Effect<A, NativeFault>,
  first: NativeFault
): Effect.Effect<A, NativeFault> =>
  Effect.gen(function* () {
    const { realClock, timeout = 0 } = connection
    const end = realClock.currentTimeMillisUnsafe() + timeout * share
    let delay = shortest
    let last = first
    while (realClock.currentTimeMillisUnsafe() + delay < end) {
      yield* Effect.sleep(delay * (0.5 + (yield* Random.next)))
      const result = yield* Effect.result(effect)
      if (result._tag === "Success") return result.success
      last = result.failure
      if (!mayPass(connection, last)) break
      delay = Math.min(delay * 2, longest)
    }
    return yield* Effect.fail(last)
  }).pipe(Effect.provideService(Clock.Clock, connection.realClock))

/** Reads that meet a fault which may pass. */
export const readAgain = <A>(
  connection: ConnectionService,
  effect: Effect.Effect<A, NativeFault>
): Effect.Effect<A, NativeFault> =>
  Effect.catchIf(
    effect,
    (fault) => mayPass(connection, fault),
    (fault) => patiently(connection, effect, fault)
  )

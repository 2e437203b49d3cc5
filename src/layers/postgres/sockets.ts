/**
 * The sockets of a layer, so that closing it ends and leaves none: the client says goodbye on each, takes back its `LISTEN`, and waits for
 * answers and for the server to hang up. A server that is frozen, or behind a dead line, does none of that.
 */
import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Place } from "./target.ts"

/** How long a closing layer waits for its server. */
export const farewell = 500
/** Of silence, before the system asks whether the other side is still there. */
const keepAlive = 10_000

export interface Sockets {
  /** A client's configuration with its sockets among these. */
  readonly of: <Config extends PgClientConfig>(config: Config, place: Place) => Config
  /** From now on they have a moment left. */
  readonly expire: Effect.Effect<void>
}

const ended = (socket: Net.Socket) =>
  Effect.callback<void>((resume) => {
    if (socket.closed) resume(Effect.void)
    else socket.once("close", () => resume(Effect.void))
  })

/** Open it before the clients: it closes after them, when every socket has ended. */
export const makeSockets: Effect.Effect<Sockets, never, Scope.Scope> = Effect.gen(function* () {
  const open = new Set<Net.Socket>()
  let over = false
  let expiring: Fiber.Fiber<void> | undefined
  const cut = Effect.sync(() => {
    over = true
    for (const socket of open) socket.destroy()
  })
  const expire = Effect.suspend(() =>
    expiring === undefined
      ? Effect.map(
          Effect.forkDetach(
            Effect.provideService(Effect.andThen(Effect.sleep(farewell), cut), Clock.Clock, Clock.Clock.defaultValue())
          ),
          (fiber) => void (expiring = fiber)
        )
      : Effect.void
  )
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      yield* expire
      for (const socket of Array.from(open)) yield* ended(socket)
      if (expiring !== undefined) yield* Fiber.interrupt(expiring)
    })
  )
  return {
    expire,
    of: (config, { address, line }) => ({
      ...config,
      stream: () => {
        const socket = Net.connect(
          line === undefined
            ? { path: address }
            : { ...line, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAlive }
        )
        open.add(socket)
        socket.once("close", () => open.delete(socket))
        if (over) socket.destroy()
        return socket
      }
    })
  }
})

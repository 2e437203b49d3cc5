/** A network that fails on command: a TCP proxy in this process between a client and a server on this machine. */
import * as Net from "node:net"
import { Deferred, Effect, type Scope } from "effect"
import { freePorts } from "../servers/machine.ts"
import { type FaultyConnection, faultyConnection, type Network } from "./faultProxyConnection.ts"

/** A fault that waits for a request; it strikes once. */
export interface Trap {
  /** Completes when it has struck. */
  readonly sprung: Effect.Effect<void>
}

export interface FaultProxy {
  readonly port: number
  /** The address of the server, but through the proxy. */
  readonly through: (url: string) => string
  /** How many clients are connected now. */
  readonly connections: Effect.Effect<number>
  /** How many have ever been accepted. */
  readonly accepted: Effect.Effect<number>
  /** Resets all connections, on both sides; what was under way in them is lost. Requests held back stay held. */
  readonly cut: Effect.Effect<void>
  /** Connections stay open, new ones are accepted, and nothing passes in either direction. */
  readonly stall: Effect.Effect<void>
  /** Ends `stall`. What was sent meanwhile arrives, also requests of clients that have gone since. */
  readonly go: Effect.Effect<void>
  /** Nothing listens on the port any more: new connections are refused, those that are open stay. */
  readonly refuse: Effect.Effect<void>
  /** Ends `refuse`. */
  readonly accept: Effect.Effect<void>
  /** From now on requests and answers each take so long, so a round trip takes twice as long. 0 ends it. */
  readonly delay: (milliseconds: number) => Effect.Effect<void>
  /**
   * The next request that matches reaches the server, and its client's connection is reset at once, so no answer passes. The
   * trap has sprung when the server has ended that connection, and with it everything that was asked there. A command that
   * blocks in the server is given up instead of waited for.
   *
   * The text to match is explained at `Request` in faultProxyRequests.ts. In short: `set key value`, written as the client
   * wrote it (ioredis writes names in lower case), and a transaction as a whole, at its EXEC.
   */
  readonly cutAfterRequest: (match: string | RegExp) => Effect.Effect<Trap>
  /**
   * The next request that matches is kept back, with what its client had sent behind it, and the client's connection is reset.
   * The server's side stays open, with the MULTI and WATCH that went before. The trap has sprung when the request is held.
   */
  readonly holdRequest: (match: string | RegExp) => Effect.Effect<Trap>
  /** Delivers what was held back, in order; returns when the server has handled it, and how many requests those were. */
  readonly releaseHeld: Effect.Effect<number>
}

const listen = (server: Net.Server, port: number): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    server.once("error", (error) => resume(Effect.fail(error)))
    server.listen(port, "127.0.0.1", () => resume(Effect.void))
  })

/** A proxy before a port of this machine. It ends with the scope, and all its connections with it. Needs the real clock. */
export const faultProxy = Effect.fnUntraced(function* (
  target: number
): Effect.fn.Return<FaultProxy, never, Scope.Scope> {
  const network: Network = { target, stalled: false, delay: 0, traps: [] }
  /** Those that have a side still open. */
  const all = new Set<FaultyConnection>()
  let held: Array<FaultyConnection> = []
  let accepted = 0
  let listener: Net.Server | undefined

  const meet = (client: Net.Socket): void => {
    accepted++
    const connection = faultyConnection(network, client, {
      onClosed: () => void all.delete(connection),
      onHeld: () => void held.push(connection)
    })
    all.add(connection)
  }
  const openOn = (port: number): Effect.Effect<void, Error> =>
    Effect.suspend(() => {
      const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, meet)
      return Effect.tap(listen(server, port), () => Effect.sync(() => (listener = server)))
    })
  const refuse = Effect.sync(() => {
    // It stops to listen at once, and would call back only when its last connection has ended.
    listener?.close()
    listener = undefined
  })
  const reset = (connections: Iterable<FaultyConnection>) =>
    Effect.sync(() => {
      for (const connection of connections) connection.reset()
    })

  const port = yield* Effect.acquireRelease(
    Effect.flatMap(freePorts(1), ([free = 0]) => Effect.as(openOn(free), free)).pipe(Effect.eventually),
    () => Effect.andThen(refuse, reset(all))
  )

  const arm = (fault: "cut" | "hold") => (match: string | RegExp) =>
    Effect.sync((): Trap => {
      const sprung = Deferred.makeUnsafe<void>()
      const matches =
        typeof match === "string" ? (text: string) => text.includes(match) : (text: string) => text.search(match) >= 0
      network.traps.push({ fault, matches, spring: () => void Deferred.doneUnsafe(sprung, Effect.void) })
      return { sprung: Deferred.await(sprung) }
    })

  return {
    port,
    through: (address) => {
      const url = new URL(address)
      url.host = `127.0.0.1:${port}`
      return url.href
    },
    connections: Effect.sync(() => [...all].filter((connection) => connection.connected()).length),
    accepted: Effect.sync(() => accepted),
    cut: Effect.suspend(() => reset([...all].filter((connection) => !held.includes(connection)))),
    stall: Effect.sync(() => void (network.stalled = true)),
    go: Effect.sync(() => {
      network.stalled = false
      for (const connection of all) connection.proceed()
    }),
    refuse,
    accept: Effect.suspend(() => (listener === undefined ? Effect.orDie(openOn(port)) : Effect.void)),
    delay: (milliseconds) => Effect.sync(() => void (network.delay = milliseconds)),
    cutAfterRequest: arm("cut"),
    holdRequest: arm("hold"),
    releaseHeld: Effect.suspend(() => {
      const connections = held
      held = []
      return Effect.map(
        Effect.forEach(connections, ({ release }) => release),
        (counts) => counts.reduce((sum, count) => sum + count, 0)
      )
    })
  }
})

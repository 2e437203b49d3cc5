/** One connection through the proxy: what passes from side to side, when, and what a trap does to it. */
import * as Net from "node:net"
import { Deferred, Effect } from "effect"
import { type Request, requestSplitter } from "./faultProxyRequests.ts"

/** What is true for all connections of a proxy now. */
export interface Network {
  readonly target: number
  stalled: boolean
  delay: number
  /** The first that matches strikes, and is taken off the list. */
  traps: Array<Armed>
}

export interface Armed {
  readonly fault: "cut" | "hold"
  readonly matches: (text: string) => boolean
  readonly spring: () => void
}

export interface FaultyConnection {
  /** Whether the client still is at the other end. */
  readonly connected: () => boolean
  /** Ends both sides at once. */
  readonly reset: () => void
  /** Lets pass what was kept while the network was stalled. */
  readonly proceed: () => void
  /**
   * Delivers what a trap held, and completes when the server has ended the connection; says how many requests it were. None
   * when the server has gone.
   */
  readonly release: Effect.Effect<number>
}

/** One direction: what has to arrive, in order, each not before its time. */
const lane = (network: Network) => {
  let waiting: Array<{ readonly due: number; readonly arrive: () => void }> = []
  let timer: NodeJS.Timeout | undefined
  let open = true
  const proceed = (): void => {
    clearTimeout(timer)
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (network.stalled) return
      const wait = first.due - performance.now()
      if (wait > 0) {
        timer = setTimeout(proceed, wait)
        return
      }
      waiting.shift()
      first.arrive()
    }
  }
  return {
    proceed,
    send: (arrive: () => void): void => {
      if (!open) return
      const last = waiting.at(-1)
      waiting.push({ due: Math.max(last?.due ?? 0, performance.now() + network.delay), arrive })
      proceed()
    },
    /** Nothing arrives any more. */
    close: (): void => {
      open = false
      waiting = []
      clearTimeout(timer)
    }
  }
}

export const faultyConnection = (
  network: Network,
  client: Net.Socket,
  { onClosed, onHeld }: { readonly onClosed: () => void; readonly onHeld: () => void }
): FaultyConnection => {
  const server = Net.connect({ host: "127.0.0.1", port: network.target, allowHalfOpen: true, noDelay: true })
  const ended = Deferred.makeUnsafe<{ readonly failed: boolean }>()
  const requests = lane(network)
  const answers = lane(network)
  const split = requestSplitter()
  /** What a trap keeps back; from then on everything that the client has sent. */
  let held: Array<Request> | undefined
  /** The client is cut off by a trap, the server is not. */
  let alone = false
  let connected = true
  const closed = (): void => {
    if (client.destroyed && server.destroyed) onClosed()
  }

  const cutOff = (): void => {
    alone = true
    connected = false
    answers.close()
    client.resetAndDestroy()
  }

  const pass = (request: Request): void => {
    if (held !== undefined) {
      held.push(request)
      return
    }
    if (alone) return
    const { text } = request
    const trap = text === undefined ? undefined : network.traps.find(({ matches }) => matches(text))
    if (trap === undefined) {
      server.write(request.bytes)
      return
    }
    network.traps = network.traps.filter((other) => other !== trap)
    if (trap.fault === "hold") {
      held = [request]
      cutOff()
      onHeld()
      trap.spring()
      return
    }
    // Its own end comes behind the request, so the server first does what it was asked, and then ends the connection too.
    server.end(request.bytes)
    cutOff()
    server.once("close", trap.spring)
  }

  client.on("data", (chunk) => {
    for (const request of split(chunk)) requests.send(() => pass(request))
  })
  client.on("end", () => {
    connected = false
    requests.send(() => (alone ? undefined : void server.end()))
  })
  // A reset by the proxy itself has closed this lane, or left the server to the trap.
  client.on("error", () => requests.send(() => (alone ? undefined : void server.resetAndDestroy())))
  client.on("close", () => {
    connected = false
    closed()
  })

  server.on("data", (chunk) => answers.send(() => void client.write(chunk)))
  server.on("end", () => {
    if (alone) server.destroy()
    else answers.send(() => void client.end())
  })
  server.on("error", () => answers.send(() => void client.resetAndDestroy()))
  server.on("close", (failed) => {
    Deferred.doneUnsafe(ended, Effect.succeed({ failed }))
    closed()
  })

  return {
    connected: () => connected,
    reset: () => {
      connected = false
      requests.close()
      answers.close()
      client.resetAndDestroy()
      server.resetAndDestroy()
    },
    proceed: () => {
      requests.proceed()
      answers.proceed()
    },
    release: Effect.suspend(() => {
      const late = held ?? []
      if (server.destroyed) return Effect.succeed(0)
      server.end(Buffer.concat(late.map(({ bytes }) => bytes)))
      return Effect.map(Deferred.await(ended), ({ failed }) => (failed ? 0 : late.length))
    })
  }
}

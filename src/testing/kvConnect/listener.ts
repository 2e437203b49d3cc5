/**
 * One port for HTTP/1.1, which Node's client speaks, and HTTP/2 without TLS, which is all that Deno's client speaks. The first bytes of a
 * connection tell which; with TLS the handshake does.
 */
import * as http from "node:http"
import * as http2 from "node:http2"
import * as net from "node:net"
import * as Effect from "effect/Effect"
import type { Request, Response } from "./exchange.ts"
import { KvConnectError, ListenFailed } from "./KvConnectError.ts"

export interface Listening {
  readonly host: string
  readonly port: number
  readonly tls: { readonly cert: string; readonly key: string } | undefined
  readonly handle: (request: Request, response: Response) => void
  /** Runs something beside; what it answers ends it. */
  readonly fork: (effect: Effect.Effect<void>) => () => void
}

/** What HTTP/2 begins with, and HTTP/1 never does. */
const preface = Buffer.from("PRI * HTTP/2.0")
/** In which time a new connection says something. */
const silence = "30 seconds"

export interface Listener {
  readonly port: number
  /** Takes no more connections. */
  readonly stop: Effect.Effect<void>
  /** Closes the connections, at once or when what was written to them is on its way. */
  readonly close: (how: "at once" | "written") => Effect.Effect<void>
}

export const listen = ({ fork, handle, host, port, tls }: Listening): Effect.Effect<Listener, KvConnectError> =>
  Effect.callback<Listener, KvConnectError>((resume) => {
    const sockets = new Set<net.Socket>()
    const { end, server } = tls === undefined ? plain(handle, fork) : secure(tls, handle)
    server.on("connection", (socket: net.Socket) => {
      sockets.add(socket)
      socket.on("close", () => sockets.delete(socket))
      // A connection that breaks is nobody's fault here; without a listener it would end the process.
      socket.on("error", () => undefined)
    })
    const failed = (error: Error) => {
      end()
      const address = `${host}:${port}`
      resume(Effect.fail(new KvConnectError({ reason: new ListenFailed({ address, detail: error.message }) })))
    }
    server.once("error", failed)
    server.listen({ host, port }, () => {
      server.off("error", failed)
      server.on("error", () => undefined)
      let closed = false
      server.once("close", () => (closed = true))
      const stop = Effect.sync(() => {
        end()
        server.close()
      })
      const close: Listener["close"] = (how) =>
        Effect.callback((done) => {
          if (closed) return done(Effect.void)
          server.once("close", () => done(Effect.void))
          for (const socket of sockets)
            if (how === "written") socket.destroySoon()
            else socket.destroy()
        })
      resume(Effect.succeed({ port: (server.address() as net.AddressInfo).port, stop, close }))
    })
    return Effect.sync(() => {
      end()
      server.close()
    })
  })

const plain = (handle: Listening["handle"], fork: Listening["fork"]) => {
  const one = http.createServer(handle)
  // Its checks for requests that never become whole begin when it listens, which it does not do itself.
  one.emit("listening")
  const two = http2.createServer(handle)
  two.on("sessionError", () => undefined)
  const server = net.createServer({ noDelay: true }, (socket) => {
    let head = Buffer.alloc(0)
    const first = () => {
      const more = socket.read() as Buffer | null
      if (more === null) return
      head = Buffer.concat([head, more])
      const known = head.subarray(0, preface.length)
      const similar = known.equals(preface.subarray(0, known.length))
      if (similar && known.length < preface.length) return
      socket.off("readable", first)
      spoke()
      socket.unshift(head)
      if (similar) two.emit("connection", socket)
      else one.emit("connection", socket)
    }
    const spoke = fork(
      Effect.andThen(
        Effect.sleep(silence),
        Effect.sync(() => socket.destroy())
      )
    )
    socket.once("close", spoke)
    socket.on("readable", first)
  })
  return {
    server,
    end: () => {
      one.close()
      two.close()
    }
  }
}

const secure = (tls: NonNullable<Listening["tls"]>, handle: Listening["handle"]) => {
  const server = http2.createSecureServer({ ...tls, allowHTTP1: true }, handle)
  server.on("sessionError", () => undefined)
  server.on("tlsClientError", () => undefined)
  return { server: server as net.Server, end: () => undefined }
}

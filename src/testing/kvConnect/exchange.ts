/** One request and its answer, the same for HTTP/1.1 and HTTP/2. */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2"
import * as Effect from "effect/Effect"
import { maxBody } from "./limits.ts"
import { Refusal } from "./refusal.ts"

export type Request = IncomingMessage | Http2ServerRequest
export type Response = ServerResponse | Http2ServerResponse

export const header = (request: Request, name: string): string | undefined => {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

export const pathOf = (request: Request): string => (request.url ?? "/").split("?", 1)[0]!

/** The body, up to the largest that is needed. */
export const bodyOf = (request: Request): Effect.Effect<Uint8Array, Refusal> =>
  Effect.callback((resume) => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    const take = (chunk: Uint8Array) => {
      size += chunk.length
      if (size > maxBody) return settle(Effect.fail(tooLarge))
      chunks.push(chunk)
    }
    const end = () => settle(Effect.succeed(Buffer.concat(chunks)))
    const broken = () => settle(Effect.fail(new Refusal(400, "The connection broke before the request was complete.")))
    const settle = (effect: Effect.Effect<Uint8Array, Refusal>) => {
      stop()
      resume(effect)
    }
    const stop = () => {
      request.off("data", take)
      request.off("end", end)
      request.off("close", broken)
    }
    if (Number(header(request, "content-length") ?? 0) > maxBody) return resume(Effect.fail(tooLarge))
    request.on("data", take)
    request.on("end", end)
    request.on("close", broken)
    // Told by "close" too; without a listener it would end the process.
    request.on("error", () => undefined)
    return Effect.sync(stop)
  })

const tooLarge = new Refusal(
  413,
  `The request has more than ${maxBody} bytes, which no read or write within the limits needs.`
)

// Both kinds take these calls, but no call fits the type of either.
const writable = (response: Response): ServerResponse => response as ServerResponse

/** Answers, and waits until it is on its way. */
export const answer = (
  response: Response,
  status: number,
  type: string,
  body: Uint8Array | string,
  headers?: Readonly<Record<string, string>>
): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (response.headersSent || response.destroyed) return resume(Effect.void)
    const bytes = typeof body === "string" ? Buffer.from(body) : body
    const done = () => resume(Effect.void)
    // In HTTP/2 the response itself is finished only when the client, too, has said all.
    const sent = "stream" in response ? response.stream : response
    sent.once("finish", done)
    response.once("close", done)
    writable(response).writeHead(status, { "content-type": type, "content-length": bytes.length, ...headers })
    writable(response).end(bytes)
  })

export const begin = (response: Response, type: string): Effect.Effect<void> =>
  Effect.sync(() => {
    writable(response).writeHead(200, { "content-type": type })
    writable(response).flushHeaders()
  })

/** Writes a part of the body, and waits while the client takes nothing in. */
export const write = (response: Response, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (response.destroyed || writable(response).write(bytes)) return resume(Effect.void)
    const go = () => {
      stop()
      resume(Effect.void)
    }
    const stop = () => {
      response.off("drain", go)
      response.off("close", go)
    }
    response.on("drain", go)
    response.on("close", go)
    return Effect.sync(stop)
  })

export const finish = (response: Response): Effect.Effect<void> => Effect.sync(() => void writable(response).end())

/** Takes in no more of a request that was answered before it was whole. */
export const abandon = (request: Request, how: "this request" | "its connection"): Effect.Effect<void> =>
  Effect.sync(() => {
    if (request.readableEnded) return
    if ("stream" in request) request.stream.close()
    // HTTP/1.1 takes the rest in and drops it, unless there is no end to it.
    else if (how === "its connection") request.socket.destroySoon()
  })

/** Cuts the connection that the request came over. */
export const cut = (request: Request): Effect.Effect<void> =>
  Effect.sync(() => {
    if ("stream" in request) request.stream.session?.destroy()
    else request.socket.destroy()
  })

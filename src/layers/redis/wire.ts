/**
 * One client of ioredis, as an Effect resource. Commands go out raw, with replies as bytes, and the commands of one turn of the event
 * loop leave in one write.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { Cluster, Redis } from "ioredis"
import { Command } from "ioredis"
import { AuthRefused, RedisError, TlsRefused, Unreachable, WrongServer } from "./errors.ts"
import { closedFault, faultOf, refusedConnection, RedisFault, unsentFault } from "./faults.ts"
import type { Script } from "./script.ts"
import { strangerAt } from "./stranger.ts"
import { backoff, type Target } from "./target.ts"

/** Texts where they can be: an argument in bytes makes the whole command dearer. */
export type Arg = string | number | Buffer
/** `Buffer`, number, `null`, or an array of these; an error inside an array is the server's answer to one command of a transaction. */
export type Reply = unknown

export interface Wire {
  readonly call: (name: string, args: ReadonlyArray<Arg>) => Effect.Effect<Reply, RedisFault>
  /**
   * `MULTI`, the commands, `EXEC` in one write. `null`: a watched key was changed. With `since`, the number of the connection on which the
   * keys are watched, nothing is sent on a later one, which watches nothing. Not on a Cluster.
   */
  readonly multi: (
    commands: ReadonlyArray<readonly [name: string, ...args: ReadonlyArray<Arg>]>,
    since?: number
  ) => Effect.Effect<ReadonlyArray<Reply> | null, RedisFault>
  readonly run: (script: Script, keys: ReadonlyArray<Arg>, args: ReadonlyArray<Arg>) => Effect.Effect<Reply, RedisFault>
  /** Grows when the connection is lost. */
  readonly connectionNumber: () => number
  readonly client: Redis | Cluster
}

export const makeWire = (target: Target): Effect.Effect<Wire, RedisError, Scope.Scope> =>
  Effect.gen(function* () {
    let live = false
    let closed = false
    let lastError: Error | undefined
    let connections = 0
    /** What is said while there is no connection. */
    let absent = unsentFault
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const made = target.make(() => live && !closed)
        // Without a listener every failed attempt would be printed.
        made.on("error", (error: Error & { readonly command?: { readonly name: string } }) => {
          // The client would go on in database 0.
          const elsewhere = error.command?.name === "select"
          if (elsewhere || lastError?.name !== "ReplyError") lastError = error
          if (elsewhere) made.disconnect(live)
        })
        made.on("error", (error: Error) => (absent = isReply(error) ? refusedConnection(error) : unsentFault))
        made.on("ready", () => (absent = unsentFault))
        made.on("close", () => void connections++)
        return made
      }),
      (made) =>
        Effect.sync(() => {
          closed = true
          destroy(made)
        })
    )
    yield* Effect.tryPromise({
      try: () => client.connect(),
      catch: (error) => ({ cause: lastError ?? error })
    }).pipe(
      Effect.catch(({ cause }) => Effect.flatMap(connectError(target, cause), Effect.fail)),
      Effect.timeoutOrElse({
        // The server may take its time to connect and again to answer the login.
        duration: target.connectTimeout + target.commandTimeout,
        orElse: () => Effect.fail(unreachable(target, "it accepts connections and does not answer"))
      }),
      Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
    )
    live = true

    // A client that has ended by itself, as when no Sentinel answers, is connected anew from here, and no longer than the layer lives.
    const ended = Latch.makeUnsafe(client.status === "end")
    let attempts = 0
    client.on("end", () => ended.openUnsafe())
    client.on("ready", () => (attempts = 0))
    const revive = Effect.forever(
      Effect.gen(function* () {
        yield* ended.await
        ended.closeUnsafe()
        yield* Effect.sleep(backoff(++attempts))
        yield* Effect.ignore(Effect.tryPromise(() => client.connect()))
      })
    )
    yield* Effect.forkScoped(Effect.provideService(revive, Clock.Clock, Clock.Clock.defaultValue()))

    const cork = corker(client)
    const send = (name: string, args: ReadonlyArray<Arg>): Promise<Reply> => {
      cork()
      const command = new Command(name, args as Array<Arg>, { replyEncoding: null as never })
      void client.sendCommand(command)
      return command.promise
    }
    const failed = (error: unknown, sent: boolean): RedisFault => {
      if (closed && !sent) return closedFault
      const fault = faultOf(error, sent)
      return fault === unsentFault ? absent : fault
    }
    const once: Wire["call"] = (name, args) =>
      Effect.callback((resume) => {
        const sent = client.status === "ready"
        if (closed || (client.isCluster && !sent)) {
          resume(Effect.fail(closed ? closedFault : unsentFault))
          return
        }
        send(name, args).then(
          (reply) => resume(Effect.succeed(reply)),
          (error: unknown) => resume(Effect.fail(failed(error, sent)))
        )
      })

    /** A Cluster queues what it has no node for, and a single client nothing. */
    const call: Wire["call"] = client.isCluster
      ? (name, args) =>
          Effect.timeoutOrElse(once(name, args), {
            duration: target.commandTimeout + target.connectTimeout,
            orElse: () => Effect.fail(new RedisFault("unknown", "no node of the Cluster answered in time"))
          }).pipe(Effect.provideService(Clock.Clock, Clock.Clock.defaultValue()))
      : once

    const multi: Wire["multi"] = (commands, since) =>
      Effect.callback((resume) => {
        if (closed || (since !== undefined && since !== connections)) {
          resume(Effect.fail(closed ? closedFault : unsentFault))
          return
        }
        const sent = client.status === "ready"
        let refused: unknown
        const note = (error: unknown) => {
          refused ??= error
        }
        send("multi", []).catch(note)
        for (const [name, ...args] of commands) send(name, args).catch(note)
        send("exec", []).then(
          (reply) => {
            const replies = reply as ReadonlyArray<Reply> | null
            const failure = replies?.find((one) => one instanceof Error)
            resume(failure === undefined ? Effect.succeed(replies) : Effect.fail(faultOf(failure, true)))
          },
          // EXECABORT does not say why; the command that was refused does.
          (error: unknown) => resume(Effect.fail(failed(isReply(error) ? (refused ?? error) : error, sent)))
        )
      })

    const run: Wire["run"] = (script, keys, args) =>
      Effect.catchIf(
        call("evalsha", [script.sha, keys.length, ...keys, ...args]),
        (fault) => fault.code === "NOSCRIPT",
        // Nothing was run; sent whole it is kept by the server.
        () => call("eval", [script.lua, keys.length, ...keys, ...args])
      )

    return { call, multi, run, client, connectionNumber: () => connections }
  })

const isReply = (error: unknown): boolean => (error as { readonly name?: string }).name === "ReplyError"

/** `disconnect` alone waits for a peer that may be gone, and keeps the process alive meanwhile. */
const destroy = (client: Redis | Cluster): void => {
  client.disconnect()
  if (!client.isCluster) (client as Redis & { readonly stream?: { destroy: () => void } }).stream?.destroy()
}

/** Gathers what is written in one turn. A Cluster has many streams and does without. */
const corker = (client: Redis | Cluster): (() => void) => {
  if (client.isCluster) return () => undefined
  const redis = client as Redis & { readonly stream?: { cork: () => void; uncork: () => void } }
  let corked = false
  return () => {
    const { stream } = redis
    if (corked || stream === undefined) return
    corked = true
    stream.cork()
    queueMicrotask(() => {
      corked = false
      stream.uncork()
    })
  }
}

const unreachable = ({ address }: Target, detail: string): RedisError =>
  new RedisError({ reason: new Unreachable({ address, detail }) })

/** What went wrong. Whoever hung up is asked, over a connection of its own, who it is. */
const connectError = (target: Target, error: unknown): Effect.Effect<RedisError> => {
  const { address, line } = target
  const found = describeConnectError(target, error)
  if (found.reason._tag !== "Unreachable" || !found.reason.detail.startsWith(hungUp) || line === undefined)
    return Effect.succeed(found)
  return Effect.map(strangerAt(line.host, line.port), (stranger) =>
    stranger === undefined
      ? found
      : new RedisError({ reason: new WrongServer({ address, detail: `it speaks as ${stranger} does` }) })
  )
}

const hungUp = "it hung up"

const describeConnectError = (target: Target, error: unknown): RedisError => {
  const { address } = target
  const cause = (error as { readonly lastNodeError?: unknown }).lastNodeError ?? error
  const { code = "", message = String(cause) } = cause as { readonly code?: string; readonly message?: string }
  const detail = message.replace(/\.$/, "")
  if (/^(WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR invalid password)/.test(message))
    return new RedisError({ reason: new AuthRefused({ address, detail }) })
  if (/CERT|_SSL_|TLS|UNABLE_TO|SELF_SIGNED|EPROTO/.test(code))
    return new RedisError({ reason: new TlsRefused({ address, detail }) })
  if (/RESP type|Protocol error|DB index|cluster support disabled|ERR /.test(message))
    return new RedisError({ reason: new WrongServer({ address, detail }) })
  if (target.tls && code === "ETIMEDOUT")
    return unreachable(target, "no secure connection came about in time; a server without TLS wants redis://")
  if (!target.tls && (code === "ECONNRESET" || code === "EPIPE" || detail === "Connection is closed"))
    return unreachable(target, `${hungUp} (${detail}), as a server does that wants TLS: rediss://`)
  return unreachable(target, detail === "" ? code : detail)
}

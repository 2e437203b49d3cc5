/** What every request goes through: faults, path, version, token, database, and then its operation. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf"
import { fromBinary, toBinary } from "@bufbuild/protobuf"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Spanned } from "../../internal/telemetry.ts"
import { KvError } from "../../kv/KvError.ts"
import type { WatchOutput } from "./datapath_pb.ts"
import {
  AtomicWriteOutputSchema,
  AtomicWriteSchema,
  SnapshotReadOutputSchema,
  SnapshotReadSchema,
  WatchOutputSchema,
  WatchSchema
} from "./datapath_pb.ts"
import type { Request, Response } from "./exchange.ts"
import { abandon, answer, begin, bodyOf, cut, finish, header, pathOf, write } from "./exchange.ts"
import type { Fault, FaultPlan, Operation } from "./faults.ts"
import { exchangeMetadata, versions } from "./metadata.ts"
import type { Reading } from "./read.ts"
import { snapshotRead } from "./read.ts"
import { Refusal, badRequest } from "./refusal.ts"
import type { Tokens } from "./tokens.ts"
import type { OpenWatches } from "./watch.ts"
import { watch } from "./watch.ts"
import { atomicWrite } from "./write.ts"

export interface Serving extends Reading {
  readonly tokens: Tokens
  readonly databaseId: string
  readonly faults: FaultPlan
  readonly scheme: "http" | "https"
  /** Milliseconds. */
  readonly pingInterval: number
  /** `undefined`: without spans. */
  readonly spanned: Spanned | undefined
  readonly watches: OpenWatches
  /** Nothing new is begun. */
  readonly isClosing: () => boolean
}

type Failure = Refusal | KvError

type Answer =
  | { readonly _tag: "Whole"; readonly type: string; readonly body: Uint8Array | string }
  | { readonly _tag: "Watch"; readonly outputs: Stream.Stream<WatchOutput, KvError> }

/** What a request asks for, once it was read as a whole and may be asked. */
interface Prepared {
  readonly work: Effect.Effect<Answer, Failure>
}

const protobuf = "application/x-protobuf"
const plainText = "text/plain; charset=utf-8"

/** As many counters are worked on at once. */
const gateCount = 64

export type Handler = (request: Request, response: Response) => Effect.Effect<void>

export const makeHandler = (serving: Serving): Handler => {
  const gates = Array.from({ length: gateCount }, () => Semaphore.makeUnsafe(1))

  const prepare = (operation: Operation, request: Request): Effect.Effect<Prepared, Failure> => {
    if (operation === "metadata") return metadata(serving, request)
    return Effect.gen(function* () {
      yield* admit(serving, request)
      const body = yield* bodyOf(request)
      switch (operation) {
        case "snapshot_read":
          return whole(SnapshotReadOutputSchema, snapshotRead(serving, yield* decode(SnapshotReadSchema, body)))
        case "atomic_write":
          return whole(
            AtomicWriteOutputSchema,
            atomicWrite({ ...serving, gates }, yield* decode(AtomicWriteSchema, body))
          )
        case "watch":
          return {
            work: Effect.map(watch(serving, yield* decode(WatchSchema, body)), (outputs) => ({
              _tag: "Watch",
              outputs
            }))
          }
      }
    })
  }

  return (request, response) =>
    Effect.suspend(() => {
      const operation = operationOf(request)
      if (operation instanceof Refusal) return refuse(response, operation)
      if (serving.isClosing()) return refuse(response, closing)
      const fault = serving.faults.next(operation)
      // What is carried out is answered as well, also when the server closes meanwhile: a client that gets no answer sends it again.
      const handled = Effect.uninterruptibleMask((restore) => {
        const steps = Effect.gen(function* () {
          if ((yield* restore(meet(serving, fault, request))) === "cut") return
          const { work } = yield* restore(prepare(operation, request))
          const made = yield* work
          const cutting = fault?._tag === "Cut"
          if (made._tag === "Watch")
            yield* restore(sendWatch(serving, response, cutting ? Stream.take(made.outputs, 1) : made.outputs))
          else if (!cutting) yield* answer(response, 200, made.type, made.body)
          if (cutting) yield* cut(request)
        })
        return Effect.catchCause(steps, (cause) => failed(request, response, cause))
      })
      const path = pathOf(request)
      if (serving.spanned === undefined) return handled
      return serving.spanned(
        `POST ${path}`,
        {
          "http.request.method": "POST",
          "http.route": path,
          "network.protocol.version": request.httpVersion,
          "url.path": path,
          "url.scheme": serving.scheme
        },
        Effect.andThen(handled, annotate(response)),
        { kind: "server", root: true }
      )
    })
}

const annotate = (response: Response): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { statusCode } = response
    return Effect.annotateCurrentSpan({
      "http.response.status_code": statusCode,
      ...(statusCode >= 500 ? { "error.type": String(statusCode) } : undefined)
    })
  })

/** The part of a fault that comes before anything is done. */
const meet = (serving: Serving, fault: Fault | undefined, request: Request): Effect.Effect<"cut" | "go", Refusal> => {
  if (fault === undefined) return Effect.succeed("go")
  switch (fault._tag) {
    case "Status":
      return Effect.fail(new Refusal(fault.status, `A fault on command: status ${fault.status}. Nothing was done.`))
    case "Delay":
      return Effect.as(Effect.sleep(fault.duration), "go")
    case "Freeze":
      return Effect.as(serving.faults.frozen, "go")
    case "Cut":
      return fault.when === "before" ? Effect.as(cut(request), "cut") : Effect.succeed("go")
  }
}

const paths: ReadonlyMap<string, Operation> = new Map([
  ["/", "metadata" as const],
  ...versions.flatMap((version) =>
    (["snapshot_read", "atomic_write", "watch"] as const).map(
      (operation) => [`/v${version}/${operation}`, operation] as const
    )
  )
])

const operationOf = (request: Request): Operation | Refusal => {
  const operation = paths.get(pathOf(request))
  if (operation === undefined)
    return new Refusal(
      404,
      "There is nothing here. This is a KV Connect server: give clients its address without a path."
    )
  return request.method === "POST"
    ? operation
    : new Refusal(
        405,
        `This is a KV Connect server; it takes POST, not ${request.method}. Open it with Deno.openKv or @deno/kv.`
      )
}

const metadata = (serving: Serving, request: Request): Effect.Effect<Prepared, Refusal> =>
  Effect.gen(function* () {
    const body = yield* bodyOf(request)
    const authorization = header(request, "authorization")
    const scheme = header(request, "x-forwarded-proto") === "https" ? "https" : serving.scheme
    const base = `${scheme}://${header(request, ":authority") ?? header(request, "host") ?? "localhost"}/`
    const found = yield* exchangeMetadata({ body, authorization, base }, serving.tokens, serving.databaseId)
    return { work: Effect.succeed({ _tag: "Whole", type: "application/json", body: JSON.stringify(found) }) }
  })

/** Who asks, in which version, and for which database. */
const admit = (serving: Serving, request: Request): Effect.Effect<void, Refusal> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const version = header(request, "x-denokv-version") ?? "1"
    if (!pathOf(request).startsWith(`/v${version}/`))
      return Effect.fail(
        badRequest(
          `The header x-denokv-version is ${JSON.stringify(version)}, which is not the version of the path. Do the metadata exchange again.`
        )
      )
    const reason = serving.tokens.refuse(header(request, "authorization"), now)
    if (reason !== undefined) return Effect.fail(new Refusal(401, reason))
    const name = version === "1" ? "x-transaction-domain-id" : "x-denokv-database-id"
    const id = header(request, name)
    return id?.toLowerCase() === serving.databaseId
      ? Effect.void
      : Effect.fail(
          badRequest(
            id === undefined
              ? `The header ${name} is missing.`
              : `The header ${name} names another database than the one here, ${serving.databaseId}. Do the metadata exchange again.`
          )
        )
  })

const decode = <Desc extends DescMessage>(schema: Desc, body: Uint8Array): Effect.Effect<MessageShape<Desc>, Refusal> =>
  Effect.try({
    try: () => fromBinary(schema, body),
    catch: (cause) =>
      badRequest(`The body is no ${schema.typeName}: ${cause instanceof Error ? cause.message : "it cannot be read"}.`)
  })

const whole = <Desc extends DescMessage>(
  schema: Desc,
  message: Effect.Effect<MessageShape<Desc>, Failure>
): Prepared => ({
  work: Effect.map(message, (made) => ({ _tag: "Whole", type: protobuf, body: toBinary(schema, made) }))
})

const ping = new Uint8Array(4)

/** Until the client goes, or the watches are dropped. */
const sendWatch = (
  { pingInterval, watches }: Serving,
  response: Response,
  outputs: Stream.Stream<WatchOutput, KvError>
): Effect.Effect<void, KvError> => {
  // One after the other, so that no frame lands in another.
  const writing = Semaphore.makeUnsafe(1)
  const send = (bytes: Uint8Array) => writing.withPermits(1)(write(response, bytes))
  const pinging = Effect.schedule(send(ping), Schedule.spaced(pingInterval))
  const sending = Stream.runForEach(outputs, (output) => send(frameOf(output)))
  return begin(response, "application/octet-stream").pipe(
    Effect.andThen(watches.untilDropped(Effect.raceFirst(sending, pinging))),
    Effect.andThen(finish(response))
  )
}

const frameOf = (output: WatchOutput): Uint8Array => {
  const message = toBinary(WatchOutputSchema, output)
  const frame = new Uint8Array(4 + message.length)
  new DataView(frame.buffer).setUint32(0, message.length, true)
  frame.set(message, 4)
  return frame
}

const refuse = (response: Response, { detail, status }: Refusal): Effect.Effect<void> =>
  answer(response, status, plainText, detail, status === 405 ? { allow: "POST" } : undefined)

const failed = (request: Request, response: Response, cause: Cause.Cause<Failure>): Effect.Effect<void> => {
  // A stream that has begun can only end: clients open the next one, and get the state anew.
  if (response.headersSent) return Effect.andThen(told(cause), finish(response))
  const refusal = refusalOf(cause)
  return told(cause).pipe(
    Effect.andThen(refuse(response, refusal)),
    Effect.andThen(abandon(request, refusal.status === 413 ? "its connection" : "this request"))
  )
}

const closing = new Refusal(503, "The server is closing. Nothing was done.")

const told = (cause: Cause.Cause<Failure>): Effect.Effect<void> =>
  Cause.hasDies(cause) ? Effect.logError("effect-seams: a KV Connect request failed", cause) : Effect.void

/** Clients send a request again on 5xx, so only what surely was not applied may be one. */
const refusalOf = (cause: Cause.Cause<Failure>): Refusal => {
  if (Cause.hasInterruptsOnly(cause)) return closing
  const error = Cause.squash(cause)
  if (error instanceof Refusal) return error
  if (!(error instanceof KvError)) return new Refusal(400, "The server met an error of its own; its log has more.")
  if (error.reason._tag === "Unavailable") return new Refusal(503, error.message)
  return error.reason._tag === "CommitUnknown" ? new Refusal(409, error.message) : badRequest(error.message)
}

/** What the fault tests of this room are written with: queues over namespaces of their own, an administrator, what is logged. */
import * as fs from "node:fs"
import * as path from "node:path"
import * as amqplib from "amqplib"
import { type Context, Effect, Layer, Logger, Schedule, Schema, type Scope } from "effect"
import type * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import { layerQueue } from "../../../src/layers/rabbitmq/index.ts"
import * as Queue from "../../../src/Queue.ts"
import { beforeEach } from "vitest"
import type { Server } from "../../servers/index.ts"
import { rabbitmqctl } from "../../servers/rabbitmqctl.ts"

/** Messages of a test that goes on until nothing is lost: no number of lost claims makes one a dead letter. */
export const Jobs = Queue.define("jobs", {
  payload: Schema.Finite,
  retry: { times: 1_000, schedule: Schedule.spaced("20 millis") }
})

/** Short limits, so that an outage is over within a test. */
export const impatient = {
  connectTimeout: "2 seconds",
  commandTimeout: "2 seconds",
  blockedTimeout: "1 second",
  heartbeat: "2 seconds",
  tracing: false
} as const

/** What broke in a broker nobody else knows, and its folder goes with it: a test of this file that fails tells its log. */
export const tellLogOf = (server: Effect.Effect<Server>): void =>
  beforeEach(({ onTestFailed }) =>
    onTestFailed(async () => {
      const { directory } = await Effect.runPromise(server)
      const log = directory === undefined ? "" : fs.readFileSync(path.join(directory, "log"), "utf8")
      console.log(log.split("\n").slice(-400).join("\n"))
    })
  )

export type Room = Context.Context<Queue.Queue>

export const freshNamespace = (): string => `t-${globalThis.crypto.randomUUID().slice(0, 13)}`

/** A queue over connections of its own, to be provided: one process, as far as the broker knows. */
export const queueOver = (options: RabbitMq.Options): Effect.Effect<Room, RabbitMq.RabbitMqError, Scope.Scope> =>
  Layer.build(Layer.fresh(layerQueue({ ...impatient, ...options })))

/** Runs one command of AMQP on a channel and connection of the test's own, apart from every layer; a failure ends the test. */
export const asAdmin = <A>(url: string, use: (channel: amqplib.Channel) => Promise<A>): Effect.Effect<A> =>
  Effect.acquireUseRelease(
    Effect.promise(() => amqplib.connect(url)),
    (connection) =>
      Effect.promise(async () => {
        connection.on("error", () => undefined)
        const channel = await connection.createChannel()
        channel.on("error", () => undefined)
        return use(channel)
      }),
    (connection) => Effect.promise(() => connection.close().catch(() => undefined))
  )

/** How many messages wait in a queue, by its name at the broker; `undefined` when it is not there. */
export const depthOf = (url: string, name: string): Effect.Effect<number | undefined> =>
  asAdmin(url, (channel) =>
    channel.checkQueue(name).then(
      ({ messageCount }) => messageCount,
      () => undefined
    )
  )

/** A logger that keeps what is logged, instead of printing it. */
export const keepingLog = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => void lines.push(String(message)))
  return { lines, layer: Logger.layer([logger]) }
}

/**
 * Has the broker write down what has been declared. RabbitMQ 3 does so seconds later by itself, and a quorum queue that is not in its
 * register after a crash has no leader: it takes and gives nothing, to any client, and what was confirmed for it is not there.
 */
export const writeDown = (node: Server): Effect.Effect<void> =>
  Effect.orDie(rabbitmqctl(node, "eval", "mnesia:sync_log(), [ok = dets:sync(T) || T <- dets:all()].")).pipe(
    Effect.asVoid
  )

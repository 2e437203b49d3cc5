import { type Channel, connect } from "amqplib"
import { Effect, Layer } from "effect"
import type { ConnectionService } from "../../../src/layers/rabbitmq/connection.ts"
import * as RabbitMq from "../../../src/layers/rabbitmq/index.ts"
import { serverUrl } from "../../servers/index.ts"

/** Breaks both connections of a layer, as the end of its process does. */
export const cut = ({ consuming, publishing }: ConnectionService): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const link of [publishing, consuming]) {
      const inner = link.current()?.model.connection as unknown as
        | { readonly stream?: { readonly destroy: (error: Error) => void } }
        | undefined
      inner?.stream?.destroy(new Error("cut by the test"))
    }
  })

let namespaces = 0

/** Of one test. */
export const freshNamespace = (): string => `test-${process.pid}-${++namespaces}`

/** The layer over the broker that all test files share. */
export const layerOver = (options: RabbitMq.Options) =>
  Layer.unwrap(Effect.map(serverUrl("rabbitmq"), (url) => RabbitMq.layerQueue({ url, ...options })))

/** A channel of amqplib itself, as another program has one. */
export const foreignChannel = Effect.flatMap(serverUrl("rabbitmq"), (url) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async (): Promise<{ channel: Channel; close: () => Promise<void> }> => {
        const model = await connect(url)
        model.on("error", () => undefined)
        const channel = await model.createChannel()
        channel.on("error", () => undefined)
        return { channel, close: () => model.close() }
      }),
      ({ close }) => Effect.ignore(Effect.tryPromise(close))
    ),
    ({ channel }) => channel
  )
)

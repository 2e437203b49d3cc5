/** Who it may be that hung up on a client of Redis. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Net from "node:net"

/** PostgreSQL's question whether TLS is wanted, which it answers with one letter, and a broker with the version it speaks. */
const question = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** Milliseconds. It answers at once or not at all. */
const patience = 500

/** Asks in the words of others. `undefined`: none that is known here. */
export const strangerAt = (host: string, port: number): Effect.Effect<"PostgreSQL" | "RabbitMQ" | undefined> =>
  Effect.callback<"PostgreSQL" | "RabbitMQ" | undefined>((resume) => {
    const socket = Net.connect({ host, port })
    socket.once("connect", () => socket.write(question))
    socket.once("data", (answer) => {
      const text = answer.toString("latin1")
      resume(Effect.succeed(/^[SN]$/.test(text) ? "PostgreSQL" : text.startsWith("AMQP") ? "RabbitMQ" : undefined))
    })
    socket.on("error", () => resume(Effect.undefined))
    socket.once("close", () => resume(Effect.undefined))
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeoutOption(patience),
    Effect.map(Option.getOrUndefined),
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )

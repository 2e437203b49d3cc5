/** One small fact stored in and read back from each kind of server, through the client library its backend will use. */
import { PgClient } from "@effect/sql-pg"
import * as Amqp from "amqplib"
import { Effect, Redacted } from "effect"
import { Redis } from "ioredis"
import type { Kind } from "./decide.ts"

export interface Client {
  readonly write: (url: string, text: string) => Effect.Effect<void, unknown>
  readonly read: (url: string) => Effect.Effect<string | undefined, unknown>
}

const onRedis = <A>(url: string, use: (redis: Redis) => Promise<A>): Effect.Effect<A, unknown> =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Redis(url, { retryStrategy: () => null })),
    (redis) => Effect.tryPromise(() => use(redis)),
    (redis) => Effect.sync(() => redis.disconnect())
  )

const onPostgres = <A, E>(url: string, use: Effect.Effect<A, E, PgClient.PgClient>): Effect.Effect<A, unknown> =>
  use.pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url) })))

const onRabbitmq = <A>(url: string, use: (channel: Amqp.ConfirmChannel) => Promise<A>): Effect.Effect<A, unknown> =>
  Effect.acquireUseRelease(
    Effect.tryPromise(() => Amqp.connect(url)),
    (connection) => Effect.tryPromise(async () => use(await connection.createConfirmChannel())),
    (connection) => Effect.promise(() => connection.close())
  )

export const clients: Readonly<Record<Kind, Client>> = {
  redis: {
    write: (url, text) => onRedis(url, async (redis) => void (await redis.set("fact", text))),
    read: (url) => onRedis(url, async (redis) => (await redis.get("fact")) ?? undefined)
  },
  postgres: {
    write: (url, text) =>
      onPostgres(
        url,
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* sql`CREATE TABLE fact (words text)`
          yield* sql`INSERT INTO fact ${sql.insert({ words: text })}`
        })
      ),
    read: (url) =>
      onPostgres(
        url,
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          const rows = yield* sql<{ readonly words: string }>`SELECT words FROM fact`
          return rows[0]?.words
        })
      )
  },
  rabbitmq: {
    write: (url, text) =>
      onRabbitmq(url, async (channel) => {
        await channel.assertQueue("fact", { durable: true })
        channel.sendToQueue("fact", Buffer.from(text), { persistent: true })
        await channel.waitForConfirms()
        // RabbitMQ 3 writes out that a declaration was committed with the next one, and forgets the queue, confirmed
        // messages and all, when it is killed before.
        await channel.assertQueue("later", { durable: true })
      }),
    read: (url) =>
      onRabbitmq(url, async (channel) => {
        channel.on("error", () => undefined)
        const message = await channel.get("fact", { noAck: true })
        return message === false ? undefined : message.content.toString()
      })
  }
}

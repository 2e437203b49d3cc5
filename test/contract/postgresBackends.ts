/** The PostgreSQL server over which the contract suites run. */
import { Effect, Layer } from "effect"
import type * as Postgres from "../../src/layers/postgres/index.ts"
import { serverUrl } from "../servers/index.ts"

export const server: Effect.Effect<Postgres.ConnectionOptions> = Effect.orDie(
  Effect.map(serverUrl("postgres"), (url) => ({ url }))
)

/** A layer of the room over that server. */
export const over = <A, E, Options extends Postgres.ConnectionOptions>(
  layer: (options: Options) => Layer.Layer<A, E>,
  options: Options
): Layer.Layer<A, E> => Layer.unwrap(Effect.map(server, (one) => layer({ ...options, ...one })))

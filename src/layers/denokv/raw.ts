import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Connection } from "./connection.ts"
import type { NativeKv } from "./native.ts"

/**
 * The open handle of a connection as a service, for what the seams do not offer. It lives as long as its connection, which closes it.
 *
 * Gotchas: see {@link NativeKv} for what belongs to this library. The type holds what all runtimes share; on Deno the handle is a
 * `Deno.Kv`, elsewhere a `Kv` of `@deno/kv`. Away from Deno values of structured clone read as a symbol: the handle only speaks bytes.
 *
 * @since 0.1.0
 * @category services
 */
export class Native extends Context.Service<Native, NativeKv>()("effect-seams/layers/denokv/Native") {}

/**
 * {@link Native} of a connection the program provides.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNative: Layer.Layer<Native, never, Connection> = Layer.effect(
  Native,
  Effect.map(Connection, ({ native }) => native)
)

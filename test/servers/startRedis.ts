/** Starts a private Redis with settings of the test's own. */
import { Effect, type Scope } from "effect"
import { obtain } from "./install.ts"
import { ServerError } from "./machine.ts"
import { removeOrphans } from "./orphans.ts"
import { certificateOf, type RedisOptions, type RedisPlan, redisRecipe, valueOf } from "./redis.ts"
import { type Server, startProgram } from "./Server.ts"

export interface RedisServer extends Server {
  /** That of the default user, if it was given one. It is also in `url`. */
  readonly password: string | undefined
  /** The file of the certificate to trust, when it was started with `tls`. */
  readonly ca: string | undefined
}

/** The installed program; none of this can be asked of the one in compose.yaml. */
export const redisProgram: Effect.Effect<string, ServerError> = Effect.gen(function* () {
  yield* removeOrphans()
  const ready = yield* obtain("redis", { given: undefined, docker: false })
  if (ready._tag === "Start") return ready.program
  return yield* new ServerError({ kind: "redis", message: "a Redis with settings of its own has to be installed" })
})

export const startPlan = Effect.fnUntraced(function* (
  plan: RedisPlan
): Effect.fn.Return<RedisServer, ServerError, Scope.Scope> {
  const server = yield* startProgram(redisRecipe(plan), yield* redisProgram)
  const ca = plan.tls && server.directory !== undefined ? certificateOf(server.directory) : undefined
  return { ...server, ca, password: valueOf(plan.args ?? [], "--requirepass") }
})

/** A private Redis that stops with the scope. Needs the real clock. */
export const startRedis = (options?: RedisOptions): Effect.Effect<RedisServer, ServerError, Scope.Scope> =>
  startPlan(options ?? {})

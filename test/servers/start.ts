/** Starts a private server of any kind, from wherever the machine can take it. */
import { Effect, type Scope } from "effect"
import { startContainer } from "./compose.ts"
import type { Kind } from "./decide.ts"
import { obtain } from "./install.ts"
import type { ServerError } from "./machine.ts"
import { removeOrphans } from "./orphans.ts"
import { postgres } from "./postgres.ts"
import { rabbitmq } from "./rabbitmq.ts"
import { redis } from "./redis.ts"
import { type Recipe, type Server, startProgram } from "./Server.ts"

const recipes: Readonly<Record<Kind, Recipe>> = { redis, postgres, rabbitmq }

/**
 * A private server that stops with the scope. It is always started here, also where an address is given for the shared
 * one: the tests that want one of their own kill and freeze it. Needs the real clock.
 */
export const startServer = Effect.fnUntraced(function* (
  kind: Kind
): Effect.fn.Return<Server, ServerError, Scope.Scope> {
  yield* removeOrphans()
  const ready = yield* obtain(kind, { given: undefined })
  return ready._tag === "Start" ? yield* startProgram(recipes[kind], ready.program) : yield* startContainer(kind)
})

/** The address of a server to share: the one given in the environment, or that of a server started here. */
export const startOrUse = Effect.fnUntraced(function* (kind: Kind): Effect.fn.Return<string, ServerError, Scope.Scope> {
  const ready = yield* obtain(kind)
  return ready._tag === "Given" ? ready.url : (yield* startServer(kind)).url
})

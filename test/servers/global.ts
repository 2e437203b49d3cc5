/**
 * vitest's global setup: a desk on a local port where test files ask for the address of a server. Each kind starts when
 * it is first asked for and all at their own pace, so a run that needs no server starts none.
 */
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { Cause, Effect, Exit, Scope } from "effect"
import type { TestProject } from "vitest/node"
import { kinds } from "./decide.ts"
import type { ServerError } from "./machine.ts"
import { removeOrphans } from "./orphans.ts"
import { startOrUse } from "./start.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** Where the desk listens. */
    readonly seamsServers: string
  }
}

/** What the desk answers. */
export type Answer = { readonly url: string } | { readonly error: string }

const openDesk = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const run = Effect.runPromiseWith(yield* Effect.context())
  const addresses = new Map<string, Effect.Effect<Exit.Exit<string, ServerError>>>()
  for (const kind of kinds) {
    const start = startOrUse(kind).pipe(Effect.provideService(Scope.Scope, scope), Effect.exit)
    addresses.set(kind, yield* Effect.cached(start))
  }
  const answer = (path: string): Effect.Effect<Answer> =>
    Effect.map(addresses.get(path) ?? Effect.succeed(Exit.die(`there is no server called ${path}`)), (exit) =>
      Exit.isSuccess(exit) ? { url: exit.value } : { error: Cause.pretty(exit.cause) }
    )
  const desk = yield* Effect.acquireRelease(
    Effect.callback<Http.Server>((resume) => {
      const server = Http.createServer((request, response) => {
        void run(answer((request.url ?? "").slice(1))).then((body) => {
          response.setHeader("content-type", "application/json")
          response.end(JSON.stringify(body))
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  return `http://127.0.0.1:${(desk.address() as AddressInfo).port}`
})

export default async (project: TestProject): Promise<() => Promise<void>> => {
  const scope = await Effect.runPromise(Scope.make("parallel"))
  await Effect.runPromise(removeOrphans())
  project.provide("seamsServers", await Effect.runPromise(Scope.provide(openDesk, scope)))
  return () => Effect.runPromise(Scope.close(scope, Exit.void))
}

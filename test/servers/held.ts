/** Started by servers.test.ts as a process to be killed: holds one server of each kind named, prints what it holds. */
import { Effect } from "effect"
import { NodeRuntime } from "@effect/platform-node"
import { type Kind, kinds } from "./decide.ts"
import { startServer } from "./start.ts"

export interface Held {
  readonly port: number
  readonly directory: string | undefined
  readonly pids: ReadonlyArray<number>
}

const wanted = (name: string): name is Kind => kinds.some((kind) => kind === name)

NodeRuntime.runMain(
  Effect.scoped(
    Effect.gen(function* () {
      const servers = yield* Effect.forEach(process.argv.slice(2).filter(wanted), startServer, {
        concurrency: "unbounded"
      })
      const held = yield* Effect.forEach(servers, (server) =>
        Effect.map(server.pids, (pids): Held => ({ port: server.port, directory: server.directory, pids }))
      )
      console.log(JSON.stringify(held))
      return yield* Effect.never
    })
  )
)

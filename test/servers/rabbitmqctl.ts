/** What an operator does to a private RabbitMQ node: `rabbitmqctl`, in the environment of that node. */
import * as Path from "node:path"
import { Effect } from "effect"
import { obtain } from "./install.ts"
import { run, ServerError } from "./machine.ts"
import { environmentOf } from "./rabbitmq.ts"
import type { Server } from "./Server.ts"

const kind = "rabbitmq"

/**
 * Runs a command against a node, and answers what it printed. It takes a second or two, which an Erlang system needs to start; what is
 * to be done again and again in short intervals is an `eval` with a loop. A node in a container cannot be asked.
 */
export const rabbitmqctl = Effect.fnUntraced(function* (
  { directory }: Pick<Server, "directory">,
  ...args: ReadonlyArray<string>
): Effect.fn.Return<string, ServerError> {
  const ready = yield* obtain(kind, { given: undefined, docker: false })
  if (ready._tag !== "Start" || directory === undefined)
    return yield* new ServerError({ kind, message: "rabbitmqctl needs an installed RabbitMQ" })
  const file = Path.join(Path.dirname(ready.program), "rabbitmqctl")
  const { ok, output } = yield* run(file, ["--quiet", ...args], { env: environmentOf(directory) })
  if (ok) return output.trim()
  return yield* new ServerError({ kind, message: `rabbitmqctl ${args.join(" ")} failed:\n${output}` })
})

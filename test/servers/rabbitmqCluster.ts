/** Three private RabbitMQ nodes that are one cluster. */
import { Effect, type Scope } from "effect"
import { obtain } from "./install.ts"
import { freePorts, ServerError } from "./machine.ts"
import { removeOrphans } from "./orphans.ts"
import { nodeNameOf, rabbitmqRecipe } from "./rabbitmq.ts"
import { rabbitmqctl } from "./rabbitmqctl.ts"
import { type Server, startProgram } from "./Server.ts"

export interface RabbitmqCluster {
  /** Each can be killed, started again and frozen. */
  readonly nodes: ReadonlyArray<Server>
  readonly urls: ReadonlyArray<string>
  /** The node that leads a quorum queue; asks the first node that answers. */
  readonly leaderOf: (queue: string) => Effect.Effect<Server, ServerError>
}

const kind = "rabbitmq"

const leaderIn = (nodes: ReadonlyArray<Server>, queue: string) => (node: Server) =>
  Effect.gen(function* () {
    const name = yield* rabbitmqctl(
      node,
      "eval",
      `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"${queue}">>)), {_, Node} = amqqueue:get_pid(Q), Node.`
    )
    const leader = nodes.find(({ port }) => name.includes(nodeNameOf(port)))
    return leader ?? (yield* new ServerError({ kind, message: `no node of the cluster leads ${queue}, but ${name}` }))
  })

/** Starts the first node, then the others at once, which join it; returns when all answer. Needs an installed RabbitMQ. */
export const startRabbitmqCluster = Effect.fnUntraced(function* (): Effect.fn.Return<
  RabbitmqCluster,
  ServerError,
  Scope.Scope
> {
  yield* removeOrphans()
  const ready = yield* obtain(kind, { given: undefined, docker: false })
  if (ready._tag !== "Start") return yield* new ServerError({ kind, message: "a cluster needs an installed RabbitMQ" })
  const [mapper = 0] = yield* freePorts(1)
  const cookie = globalThis.crypto.randomUUID()
  const first = yield* startProgram(rabbitmqRecipe({ mapper, cookie, first: undefined }), ready.program)
  const join = startProgram(rabbitmqRecipe({ mapper, cookie, first: first.port }), ready.program)
  const nodes = [first, ...(yield* Effect.all([join, join], { concurrency: 2 }))]
  return {
    nodes,
    urls: nodes.map(({ url }) => url),
    leaderOf: (queue) => Effect.firstSuccessOf(nodes.map(leaderIn(nodes, queue)))
  }
})

/** A private RabbitMQ node with its own port mapper, cookie and folders, and without plugins; or one of a cluster. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Effect } from "effect"
import { converse, ServerError, which } from "./machine.ts"
import type { Recipe } from "./Server.ts"

const kind = "rabbitmq"

/** The machine's own settings for RabbitMQ and Erlang would lead to the machine's own node. */
const inherited = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(RABBITMQ_|ERL_|NOTIFY_SOCKET$)/.test(key)))

/** What the nodes of one cluster have in common. */
export interface RabbitmqCluster {
  /** The port of the mapper that all of them ask for one another. Only the first node starts it. */
  readonly mapper: number
  readonly cookie: string
  /** The port of the first node; `undefined` for that node itself. */
  readonly first: number | undefined
}

/** The name of the node whose clients connect to this port. */
export const nodeNameOf = (port: number): string => `seams_${port}@localhost`

/** The environment of the node that lives in this folder, for the tools that talk to it. */
export const environmentOf = (directory: string): NodeJS.ProcessEnv => ({
  ...inherited(),
  ...(JSON.parse(Fs.readFileSync(Path.join(directory, "environment.json"), "utf8")) as NodeJS.ProcessEnv)
})

export const rabbitmqRecipe = (cluster?: RabbitmqCluster): Recipe => ({
  kind,
  otherPorts: 2,
  prepare: Effect.fnUntraced(function* ({ directory, others: [own = 0, distribution = 0], port, program }) {
    const mapper = cluster?.mapper ?? own
    const epmd = which("epmd")
    if (epmd === undefined) return yield* new ServerError({ kind, message: "Erlang's epmd is not installed" })
    const at = (name: string): string => Path.join(directory, name)
    Fs.mkdirSync(at("home"))
    Fs.writeFileSync(at("environment"), "")
    Fs.writeFileSync(at("enabled_plugins"), "[].\n")
    if (cluster !== undefined) Fs.writeFileSync(at("home/.erlang.cookie"), cluster.cookie, { mode: 0o400 })
    const settings = [
      `listeners.tcp.local = 127.0.0.1:${port}`,
      "disk_free_limit.absolute = 50MB",
      // A node that finds no cluster there begins one; with another node named first it joins that one.
      ...(cluster?.first === undefined
        ? []
        : [
            "cluster_formation.peer_discovery_backend = classic_config",
            `cluster_formation.classic_config.nodes.1 = ${nodeNameOf(cluster.first)}`,
            `cluster_formation.classic_config.nodes.2 = ${nodeNameOf(port)}`
          ])
    ]
    Fs.writeFileSync(at("rabbitmq.conf"), settings.map((line) => `${line}\n`).join(""))
    const ours = {
      HOME: at("home"),
      ERL_EPMD_PORT: String(mapper),
      ERL_EPMD_ADDRESS: "127.0.0.1",
      RABBITMQ_NODENAME: nodeNameOf(port),
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
      RABBITMQ_MNESIA_BASE: at("mnesia"),
      RABBITMQ_LOG_BASE: at("logs"),
      RABBITMQ_LOGS: "-",
      RABBITMQ_PID_FILE: at("pid"),
      RABBITMQ_CONF_ENV_FILE: at("environment"),
      RABBITMQ_CONFIG_FILE: at("rabbitmq"),
      RABBITMQ_ADVANCED_CONFIG_FILE: at("advanced.config"),
      RABBITMQ_ENABLED_PLUGINS_FILE: at("enabled_plugins"),
      RABBITMQ_GENERATED_CONFIG_DIR: at("generated"),
      RABBITMQ_FEATURE_FLAGS_FILE: at("feature_flags"),
      // The start script then becomes the server instead of waiting beside it, so there is one process to signal.
      RUNNING_UNDER_SYSTEMD: "true"
    }
    Fs.writeFileSync(at("environment.json"), JSON.stringify(ours))
    const env = environmentOf(directory)
    const node = { file: program, args: [], env, stop: "SIGTERM" } as const
    if (cluster?.first !== undefined) return [node]
    return [
      { file: epmd, args: ["-port", String(mapper), "-address", "127.0.0.1"], env, stop: "SIGTERM", helper: true },
      node
    ]
  }),
  url: (port) => `amqp://guest:guest@127.0.0.1:${port}`,
  // The listener opens last. An AMQP 0-9-1 header is answered with a frame that holds the method Connection.Start.
  probe: (port) =>
    converse(
      port,
      Buffer.from("AMQP\0\0\x09\x01", "latin1"),
      (reply) => reply.length >= 11 && reply[0] === 1 && reply.readUInt16BE(7) === 10 && reply.readUInt16BE(9) === 10
    )
})

export const rabbitmq: Recipe = rabbitmqRecipe()

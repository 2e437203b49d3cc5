/** A private PgBouncer in transaction mode before a PostgreSQL server: what a program must bear where there is a pooler. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Effect, type Scope } from "effect"
import { obtainTool } from "./install.ts"
import { isRoot, ServerError, userOf } from "./machine.ts"
import { postgres } from "./postgres.ts"
import { type Recipe, type Server, startProgram } from "./Server.ts"

const kind = "postgres"

const configuration = (server: { readonly port: number }, port: number): string =>
  [
    "[databases]",
    `* = host=127.0.0.1 port=${server.port} user=postgres`,
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${port}`,
    "unix_socket_dir =",
    // Whoever comes is the user above.
    "auth_type = any",
    "pool_mode = transaction",
    // Fewer than a test has connections: each statement may find itself in another session.
    "default_pool_size = 4",
    "max_client_conn = 200",
    ""
  ].join("\n")

/** Started where the program is installed or can be; `undefined` where not. */
export const startPgbouncer = Effect.fnUntraced(function* (server: {
  readonly port: number
}): Effect.fn.Return<Server | undefined, ServerError, Scope.Scope> {
  const program = yield* obtainTool(kind, "pgbouncer", "pgbouncer")
  if (program === undefined) return undefined
  const recipe: Recipe = {
    ...postgres,
    prepare: Effect.fnUntraced(function* ({ directory, port }) {
      // It refuses to run as root, like the server.
      const user = isRoot ? yield* userOf("postgres") : undefined
      if (isRoot && user === undefined)
        return yield* new ServerError({ kind, message: "there is no system user postgres for PgBouncer" })
      const file = Path.join(directory, "pgbouncer.ini")
      Fs.writeFileSync(file, configuration(server, port))
      return [
        {
          file: program,
          args: [file],
          ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
          stop: "SIGTERM"
        }
      ]
    })
  }
  return yield* startProgram(recipe, program)
})

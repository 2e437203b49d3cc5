/** A private PostgreSQL cluster with trust authentication. It refuses to run as root, so root lends it to `postgres`. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Effect } from "effect"
import { converse, isRoot, run, ServerError, userOf } from "./machine.ts"
import type { Recipe } from "./Server.ts"

const kind = "postgres"

const name = (text: string): Buffer => Buffer.from(`${text}\0`)

/** The first message of a session: length, protocol 3.0, user and database. */
const startup = (): Buffer => {
  const body = Buffer.concat(["user", "postgres", "database", "postgres", ""].map(name))
  const head = Buffer.alloc(8)
  head.writeInt32BE(body.length + 8, 0)
  head.writeInt32BE(196608, 4)
  return Buffer.concat([head, body])
}

/** True once the messages that came back hold ReadyForQuery; an error message ends the session without it. */
export const isReady = (reply: Buffer): boolean => {
  let at = 0
  while (at + 5 <= reply.length) {
    if (reply[at] === 0x5a) return true
    at += 1 + reply.readInt32BE(at + 1)
  }
  return false
}

export const postgres: Recipe = {
  kind,
  otherPorts: 0,
  prepare: Effect.fnUntraced(function* ({ directory, port, program }) {
    const user = isRoot ? yield* userOf("postgres") : undefined
    if (isRoot && user === undefined) {
      const message =
        "PostgreSQL refuses to run as root and there is no system user postgres. Run: useradd --system postgres"
      return yield* new ServerError({ kind, message })
    }
    const as = user === undefined ? {} : { uid: user.uid, gid: user.gid }
    const data = Path.join(directory, "data")
    Fs.mkdirSync(data, { mode: 0o700 })
    if (user !== undefined) Fs.chownSync(data, user.uid, user.gid)
    const initdb = yield* run(
      program,
      ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
      { cwd: data, ...as }
    )
    if (!initdb.ok) return yield* new ServerError({ kind, message: `initdb failed\n${initdb.output}` })
    // The page cache survives a killed server, so fsync would only cost time here.
    const settings = ["fsync=off", "full_page_writes=off", "max_connections=200", "unix_socket_directories="]
    return [
      {
        file: Path.join(Path.dirname(program), "postgres"),
        args: ["-D", data, "-h", "127.0.0.1", "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])],
        ...as,
        stop: "SIGQUIT"
      }
    ]
  }),
  url: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
  probe: (port) => converse(port, startup(), isReady)
}

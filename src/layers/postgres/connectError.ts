/** Why no connection came about, told apart by what to do next. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Net from "node:net"
import { AuthRefused, PostgresError, TlsRefused, Unreachable, WrongServer } from "./errors.ts"
import { faultOf, serverError } from "./faults.ts"
import type { Place } from "./target.ts"

const failed = (reason: PostgresError["reason"]) => new PostgresError({ reason })

/** Of SQLSTATEs: too many connections, starting up or shutting down, a full disk, and what a pooler says. These pass. */
const passing = /^(08|53|55|57|58|XX)/

export const connectError =
  (address: string) =>
  (error: SqlError): PostgresError => {
    const { cause, message: summary = "" } = error.reason
    const { code = "", message = "" } = (cause ?? {}) as { readonly code?: string; readonly message?: string }
    const { detail: told } = faultOf(error)
    const detail = told.replace(/^(the server answered|there is no connection to the server): /, "")
    if (serverError(error) !== undefined) {
      if (passing.test(code)) return failed(new Unreachable({ address, detail }))
      // What pg_hba.conf does not admit without TLS it may admit with it.
      const hint = message.includes("no encryption") ? "; perhaps with TLS (sslmode=require)" : ""
      return failed(new AuthRefused({ address, detail: message + hint }))
    }
    if (error.reason._tag === "AuthenticationError") return failed(new AuthRefused({ address, detail: summary }))
    if (/Failed to parse|desync|Invalid SSLRequest/.test(summary))
      return failed(new WrongServer({ address, detail: `it does not speak PostgreSQL's protocol (${message})` }))
    if (/CERT|_SSL_|_TLS_|SELF_SIGNED|UNABLE_TO_|EPROTO/.test(code) || summary.includes("TLS"))
      return failed(new TlsRefused({ address, detail: message }))
    return failed(
      new Unreachable({
        address,
        detail: summary.includes("closed during startup") ? "it closed the connection before it had answered" : detail
      })
    )
  }

/** How long a silent server is listened to once more. */
const patience = 500

/** Whether Redis answers there. It waits for the end of a line that PostgreSQL's greeting has not, so it is silent. */
const speaksRedis = ({ host, port }: { readonly host: string; readonly port: number }): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect({ host, port })
    const end = (answer: boolean) => {
      socket.destroy()
      resume(Effect.succeed(answer))
    }
    socket.on("connect", () => socket.write("PING\r\n"))
    socket.on("data", (bytes) => end(/^(\+PONG|-[A-Z]+ )/.test(bytes.toString("latin1"))))
    socket.on("error", () => end(false))
    socket.on("close", () => end(false))
    return Effect.sync(() => void socket.destroy())
  }).pipe(
    Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.succeed(false) }),
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )

/** The same, after asking a server that was silent what it is. */
export const connectErrorAt =
  ({ address, line }: Place) =>
  (error: SqlError): Effect.Effect<never, PostgresError> =>
    line === undefined || error.reason.message !== "PgConnection: Connection timed out"
      ? Effect.fail(connectError(address)(error))
      : Effect.flatMap(speaksRedis(line), (redis) =>
          Effect.fail(
            redis ? failed(new WrongServer({ address, detail: "it answers like Redis" })) : connectError(address)(error)
          )
        )

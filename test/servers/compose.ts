/** A server in a container, where it cannot be installed. Each has a compose project of its own, on a free port. */
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Kind } from "./decide.ts"
import { composeFile, freePorts, run, ServerError } from "./machine.ts"
import { guard, type Server } from "./Server.ts"

const urlOf: Readonly<Record<Kind, (port: number) => string>> = {
  redis: (port) => `redis://127.0.0.1:${port}`,
  postgres: (port) => `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
  rabbitmq: (port) => `amqp://guest:guest@127.0.0.1:${port}`
}

export const startContainer = Effect.fnUntraced(function* (
  kind: Kind
): Effect.fn.Return<Server, ServerError, Scope.Scope> {
  const [port = 0] = yield* freePorts(1)
  const guardian = yield* guard(kind)
  const project = Path.basename(guardian.directory).toLowerCase()
  const env = { [`SEAMS_${kind.toUpperCase()}_PORT`]: String(port) }
  const compose = (...args: ReadonlyArray<string>) =>
    run("docker", ["compose", "--project-name", project, "--file", composeFile, ...args], { env })
  guardian.tell(`compose ${project} ${composeFile}`)
  Fs.writeFileSync(Path.join(guardian.directory, "compose"), project)

  const start = Effect.flatMap(compose("up", "--detach", "--wait", kind), ({ ok, output }) =>
    ok ? Effect.void : Effect.fail(new ServerError({ kind, message: `docker compose cannot start ${kind}\n${output}` }))
  )
  yield* start
  return {
    kind,
    url: urlOf[kind](port),
    port,
    directory: undefined,
    pids: Effect.succeed([]),
    kill: Effect.asVoid(compose("kill", "--signal", "SIGKILL", kind)),
    start,
    pause: Effect.asVoid(compose("pause", kind)),
    resume: Effect.asVoid(compose("unpause", kind))
  }
})

import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { startContainer } from "./compose.ts"
import { base } from "./machine.ts"

/** A `docker` that writes down how it was called, with the port it was given, and fails when asked to. */
const recordedDocker = (exitCode: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = Fs.mkdtempSync(Path.join(base, "seams-docker-"))
      const calls = Path.join(folder, "calls")
      const script = `#!/bin/sh\necho "$SEAMS_REDIS_PORT $*" >> ${calls}\necho no such image\nexit ${exitCode}\n`
      Fs.writeFileSync(Path.join(folder, "docker"), script, { mode: 0o755 })
      const path = process.env["PATH"]
      process.env["PATH"] = `${folder}${Path.delimiter}${path}`
      return { folder, path, read: () => Fs.readFileSync(calls, "utf8").trim().split("\n") }
    }),
    ({ folder, path }) =>
      Effect.sync(() => {
        process.env["PATH"] = path
        Fs.rmSync(folder, { recursive: true, force: true })
      })
  )

describe("a server in a container", () => {
  it.live("is a compose project of its own on a free port, taken down with its data when the scope closes", () =>
    Effect.gen(function* () {
      const docker = yield* recordedDocker(0)
      const server = yield* Effect.scoped(Effect.tap(startContainer("redis"), ({ kill }) => kill))
      assert.strictEqual(server.url, `redis://127.0.0.1:${server.port}`)
      const [up = "", kill = "", down = ""] = docker.read()
      const project = /--project-name (\S+)/.exec(up)?.[1] ?? ""
      assert.match(project, /^effect-seams-test-redis-[a-z0-9]+$/)
      assert.match(up, new RegExp(`^${server.port} compose .*compose\\.yaml up --detach --wait redis$`))
      assert.match(kill, new RegExp(`--project-name ${project} .* kill --signal SIGKILL redis$`))
      assert.match(down, new RegExp(`--project-name ${project} .* down --volumes --timeout 5$`))
      assert.isFalse(Fs.readdirSync(base).some((name) => name.toLowerCase() === project))
    })
  )

  it.live("that does not come up says what docker said", () =>
    Effect.gen(function* () {
      yield* recordedDocker(1)
      const error = yield* Effect.flip(Effect.scoped(startContainer("redis")))
      assert.include(error.message, "no such image")
    })
  )
})

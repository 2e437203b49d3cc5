import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schedule, Scope } from "effect"
import { clients } from "./clients.ts"
import { formatRecord, type Kind, kinds } from "./decide.ts"
import type { Held } from "./held.ts"
import { type Server, serverUrl, startServer } from "./index.ts"
import { accepts, base, identityOf } from "./machine.ts"
import { removeOrphans } from "./orphans.ts"
import { prefix } from "./Server.ts"

const heldScript = fileURLToPath(new URL("./held.ts", import.meta.url))

/** What is still there of a server that should be gone. Its port may be somebody else's by now: it tells of a container only. */
const remains = ({ directory, pids, port }: Held): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(pids.length === 0 ? accepts(port) : Effect.succeed(false), (accepting) => [
    ...pids.filter((pid) => identityOf(pid) !== undefined).map((pid) => `process ${pid}`),
    ...(accepting ? [`port ${port}`] : []),
    ...(directory !== undefined && Fs.existsSync(directory) ? [directory] : [])
  ])

const describeServer = (server: Server): Effect.Effect<Held> =>
  Effect.map(server.pids, (pids) => ({ directory: server.directory, pids, port: server.port }))

/** Runs held.ts in a process of its own and returns that process once its servers answer. */
const hold = (wanted: ReadonlyArray<Kind>) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly kill: (signal: NodeJS.Signals) => void; readonly held: ReadonlyArray<Held> }, string>(
      (resume) => {
        const child = spawn(process.execPath, [heldScript, ...wanted], { stdio: ["ignore", "pipe", "pipe"] })
        let output = ""
        child.stderr.on("data", (chunk: Buffer) => void (output += chunk.toString()))
        child.on("exit", () => resume(Effect.fail(`held.ts ended early\n${output}`)))
        child.stdout.on("data", (chunk: Buffer) => {
          output += chunk.toString()
          const line = output.split("\n").find((text) => text.startsWith("["))
          if (line !== undefined && output.includes("\n")) {
            resume(Effect.succeed({ kill: (signal) => void child.kill(signal), held: JSON.parse(line) }))
          }
        })
      }
    ),
    ({ kill }) => Effect.sync(() => kill("SIGKILL"))
  )

describe("a private server", () => {
  it.live.each([...kinds])(
    "%s starts, speaks to its client, survives a crash with its data, and leaves nothing behind",
    (kind) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const server = yield* startServer(kind).pipe(Effect.provideService(Scope.Scope, scope))
        const client = clients[kind]
        yield* client.write(server.url, "kept")

        const before = yield* describeServer(server)
        yield* server.kill
        assert.isFalse(yield* accepts(server.port), "a killed server still accepts connections")
        yield* server.start
        const after = yield* describeServer(server)
        assert.notDeepEqual(after.pids, before.pids)
        assert.strictEqual(yield* client.read(server.url), "kept")

        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* remains(before), [])
        assert.deepStrictEqual(yield* remains(after), [])
      })
  )

  it.live("can be frozen: it accepts and does not answer until it goes on", () =>
    Effect.gen(function* () {
      const server = yield* startServer("redis")
      yield* clients.redis.write(server.url, "kept")
      yield* server.pause
      const frozen = yield* Effect.timeoutOption(clients.redis.read(server.url), "300 millis")
      assert.strictEqual(frozen._tag, "None")
      assert.isTrue(yield* accepts(server.port))
      yield* server.resume
      assert.strictEqual(yield* clients.redis.read(server.url), "kept")
    })
  )

  it.live("that was frozen still stops", () =>
    Effect.gen(function* () {
      const held = yield* Effect.scoped(
        Effect.flatMap(startServer("redis"), (server) => Effect.andThen(server.pause, describeServer(server)))
      )
      assert.deepStrictEqual(yield* remains(held), [])
    })
  )
})

describe("the process that started servers", () => {
  it.live.each(["SIGTERM", "SIGINT", "SIGKILL"] as const)("leaves no server behind when it ends by %s", (signal) =>
    Effect.gen(function* () {
      const { held, kill } = yield* hold(kinds)
      assert.lengthOf(held, kinds.length)
      for (const server of held) assert.isTrue(yield* accepts(server.port))
      kill(signal)
      const remaining = Effect.map(Effect.forEach(held, remains), (each) => each.flat())
      const left = yield* remaining.pipe(
        Effect.repeat({ until: (all) => all.length === 0, schedule: Schedule.spaced("50 millis") }),
        Effect.timeoutOrElse({ duration: "20 seconds", orElse: () => remaining })
      )
      assert.deepStrictEqual(left, [])
    })
  )
})

describe("the cleaner of the next run", () => {
  const sleeper = Effect.acquireRelease(
    Effect.sync(() => spawn("sleep", ["60"], { detached: true, stdio: "ignore" })),
    (child) => Effect.sync(() => void child.kill("SIGKILL"))
  )

  const folder = (name: string, owner: string, processes: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const parent = Fs.mkdtempSync(Path.join(base, "seams-cleaner-"))
        const directory = Path.join(parent, name)
        Fs.mkdirSync(directory)
        Fs.writeFileSync(Path.join(directory, "owner"), owner)
        Fs.writeFileSync(Path.join(directory, "processes"), processes)
        return { parent, directory }
      }),
      ({ parent }) => Effect.sync(() => Fs.rmSync(parent, { recursive: true, force: true }))
    )

  const recordOf = (pid: number): string => formatRecord({ pid, identity: identityOf(pid) ?? "none" })

  it.live("stops the recorded processes of a dead owner and removes the folder", () =>
    Effect.gen(function* () {
      const child = yield* sleeper
      const pid = child.pid ?? 0
      const { directory, parent } = yield* folder(`${prefix}x`, `${process.pid} another time`, `${recordOf(pid)}\n`)
      assert.deepStrictEqual(yield* removeOrphans(parent), [directory])
      assert.isFalse(Fs.existsSync(directory))
      yield* Effect.repeat(
        Effect.sync(() => child.signalCode),
        { until: (signal) => signal !== null, schedule: Schedule.spaced("10 millis") }
      )
      assert.strictEqual(child.signalCode, "SIGKILL")
      assert.isUndefined(identityOf(pid))
    })
  )

  it.live("leaves the folder of a living owner alone", () =>
    Effect.gen(function* () {
      const child = yield* sleeper
      const pid = child.pid ?? 0
      const { directory, parent } = yield* folder(`${prefix}x`, recordOf(process.pid), `${recordOf(pid)}\n`)
      assert.deepStrictEqual(yield* removeOrphans(parent), [])
      assert.isTrue(Fs.existsSync(directory))
      assert.isDefined(identityOf(pid))
    })
  )

  it.live("does not kill a process that was given the pid of a recorded one later", () =>
    Effect.gen(function* () {
      const child = yield* sleeper
      const pid = child.pid ?? 0
      const { directory, parent } = yield* folder(`${prefix}x`, "1 another time", `${pid} another time\n`)
      assert.deepStrictEqual(yield* removeOrphans(parent), [directory])
      assert.isDefined(identityOf(pid))
    })
  )
})

describe("the shared server", () => {
  it.live("is started once and answers at the same address for everyone", () =>
    Effect.gen(function* () {
      const [one, two] = yield* Effect.all([serverUrl("redis"), serverUrl("redis")], { concurrency: 2 })
      assert.strictEqual(one, two)
      yield* clients.redis.write(one, "shared")
      assert.strictEqual(yield* clients.redis.read(two), "shared")
    })
  )
})

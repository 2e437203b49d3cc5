/** `Kv.once` and `Kv.withLock` with real processes: four over one SQLite file, killed with SIGKILL or stopped for longer than a lease. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { type Child, runtimes, startProcess, temporaryFile } from "../support/processes.ts"

const lease = 1_000
const kills = 6
const pauses = 2

interface LogLine {
  readonly token: string
  readonly name: string
  readonly half: "first" | "second"
}

describe("four processes of three runtimes over one SQLite file, killed and stopped at random", () => {
  it.live("hold a lock one after the other, get one result for a key, and do once what is committed with it", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const all: Array<Child> = []
      const launch = Effect.suspend(() => {
        const name = `p${all.length}`
        const runtime = runtimes[all.length % runtimes.length]!
        return Effect.tap(
          startProcess(runtime, "test/contract/children/kvPatternsSqlite.ts", [filename, name]),
          (child) => Effect.sync(() => void all.push(child))
        )
      })
      const running: Array<Child> = []
      for (let i = 0; i < 4; i++) running.push(yield* launch)
      yield* Effect.forEach(running, (child) => child.line("ready"), { discard: true })

      const progress = (child: Child, more: number) =>
        Effect.suspend(() => child.count("hold ", child.lines.filter((line) => line.startsWith("hold ")).length + more))
      for (let i = 0; i < kills + pauses; i++) {
        const at = i % running.length
        const victim = running[at]!
        yield* progress(victim, 2)
        // In the middle of whatever it does.
        yield* Effect.sleep(7 * i)
        if (i % 4 === 3) {
          yield* victim.kill("SIGSTOP")
          yield* Effect.sleep(2 * lease)
          yield* victim.kill("SIGCONT")
          continue
        }
        yield* victim.kill("SIGKILL")
        yield* victim.exit
        running[at] = yield* launch
        yield* running[at].line("ready")
      }
      yield* Effect.forEach(running, (child) => progress(child, 2), { discard: true, concurrency: 4 })
      for (const child of running) {
        yield* child.kill("SIGKILL")
        yield* child.exit
      }

      yield* Effect.gen(function* () {
        const kv = yield* Kv.Kv
        const entries = (prefix: string) =>
          Effect.map(Stream.runCollect(kv.list({ prefix: [prefix] })), (found) =>
            found.map(({ key, value }) => [key[1] as number, value] as const)
          )
        // The log of what was committed under the lock: whole holds, in the order of their tokens.
        const log = (yield* entries("log")).map(([, line]) => line as unknown as LogLine)
        assert.isAbove(log.length, 20)
        for (const [i, line] of log.entries()) {
          const before = log[i - 1]
          if (before === undefined) continue
          const [token, last] = [BigInt(line.token), BigInt(before.token)]
          assert.isTrue(token >= last, `line ${i + 1}: token ${token} wrote after ${last}`)
          if (line.half === "second") assert.strictEqual(token, last, `line ${i + 1} stands between others`)
          else assert.isTrue(token > last, `line ${i + 1}: token ${token} was used twice`)
        }

        // Idempotency keys: one result each, and one commit.
        const results = new Map<string, Set<string>>()
        for (const child of all)
          for (const line of child.lines) {
            const [word, n, ...result] = line.split(" ")
            if (word !== "result" && word !== "plain") continue
            const key = `${word} ${n}`
            results.set(key, (results.get(key) ?? new Set()).add(result.join(" ")))
          }
        assert.isAbove(results.size, 40)
        for (const [key, values] of results) assert.strictEqual(values.size, 1, `${key} has ${[...values].join(", ")}`)
        const done = yield* entries("done")
        for (const [n, count] of done) assert.strictEqual(count, 1n, `order ${n}`)
        const begun = (yield* entries("begun")).reduce((sum, [, count]) => sum + Number(count), 0)
        const plain = yield* entries("plain")
        const repeated = plain.filter(([, count]) => count !== 1n)
        const errors = all.flatMap(({ lines }) => lines.filter((line) => line.startsWith("error")))
        for (const error of errors) assert.match(error, /LockLost|Conflict/, error)
        console.log(
          `${log.length} commits under the lock in ${new Set(log.map(({ token }) => token)).size} holds, none out of order; ` +
            `${done.length} keys done once, begun ${begun} times; ${plain.length} keys with one result each, ` +
            `${repeated.length} of them run again; ${errors.length} locks lost; after ${kills} kills and ${pauses} pauses`
        )
        assert.isAtMost(repeated.length, kills + pauses + running.length)
      }).pipe(Effect.provide(Sqlite.layerKv({ filename, tracing: false })))
    })
  )

  it.live("take over within a lease and a second when they wait, and within two leases when they begin afresh", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const child = yield* startProcess("node", "test/contract/children/kvPatternsHolder.ts", [filename])
      yield* child.line("holds")
      const take = (key: string) =>
        Effect.gen(function* () {
          const start = performance.now()
          yield* Kv.withLock([key], { lease })(Effect.void)
          return performance.now() - start
        })
      yield* Effect.gen(function* () {
        // One waits already when the holder is killed.
        const waiter = yield* Effect.forkChild(take("waited"))
        yield* Effect.sleep(lease)
        assert.isUndefined(waiter.pollUnsafe(), "a live holder keeps it")
        const killed = performance.now()
        yield* child.kill("SIGKILL")
        yield* child.exit
        const fresh = yield* take("fresh")
        yield* Effect.repeat(Effect.sleep(5), { until: () => waiter.pollUnsafe() !== undefined })
        const waited = performance.now() - killed
        console.log(
          `taken over: ${Math.round(waited)} ms after the kill by one who waited, in ${Math.round(fresh)} ms afresh`
        )
        assert.isAtMost(waited, lease + 1_000)
        assert.isAtMost(fresh, 2 * lease)
      }).pipe(Effect.provide(Sqlite.layerKv({ filename, tracing: false })))
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"
import { serverUrl } from "../servers/index.ts"
import { type Runtime, runtimes, startProcess, temporaryFile } from "../support/processes.ts"
import { type Backend, incrementsEach, messagesEach, messagesOf, openBackend, type State } from "./sharing.ts"

const own = `runtimes-${process.pid}`

/** Where the processes meet, and what on. */
const backends = {
  sqlite: { runtimes, options: Effect.map(temporaryFile, (filename) => ({ filename })) },
  denokv: { runtimes, options: Effect.map(temporaryFile, (path) => ({ path })) },
  redis: { runtimes, options: Effect.map(serverUrl("redis"), (url) => ({ url, namespace: own })) },
  postgres: { runtimes, options: Effect.map(serverUrl("postgres"), (url) => ({ url, schema: own })) },
  rabbitmq: {
    runtimes,
    options: Effect.all([serverUrl("rabbitmq"), temporaryFile]).pipe(
      Effect.map(([url, filename]) => ({ url, namespace: own, filename }))
    )
  }
} satisfies Readonly<Record<Backend, { readonly runtimes: ReadonlyArray<Runtime>; readonly options: unknown }>>

/** The store, as somebody who comes when all are gone finds it. */
const stateOf = Effect.gen(function* () {
  const kv = yield* Kv.Kv
  const entries = yield* Stream.runCollect(kv.list({ prefix: ["share"] }))
  return Object.fromEntries(entries.map(({ key, value }) => [key.slice(2).join(" "), Number(value)]))
})

for (const [backend, { options, runtimes: names }] of Object.entries(backends)) {
  describe(`${names.join(", ")} share one queue and one Kv on ${backend}`, () => {
    it.live("and each message is handled once, each increment counts, and every watch comes to the same end", () =>
      Effect.gen(function* () {
        const given = JSON.stringify(yield* options)
        const children = yield* Effect.forEach(names, (name) =>
          startProcess(name, "test/runtimes/children/share.ts", [backend, given, name, names.join(",")], {
            flags: name === "deno" ? ["--unstable-kv"] : []
          })
        )
        yield* Effect.forEach(children, (child) => child.line("ready"), { concurrency: "unbounded" })
        yield* Effect.forEach(children, (child) => child.send("go"))
        const seen = yield* Effect.forEach(children, (child) => child.line("saw"), { concurrency: "unbounded" })
        for (const child of children) {
          assert.strictEqual(yield* child.exit, 0, child.errors())
          assert.strictEqual(child.errors(), "")
        }

        const layer = yield* Effect.promise(() => openBackend(backend as Backend, given))
        const { state, stats } = yield* Effect.all({
          state: stateOf,
          stats: Queue.Queue.use((queue) => queue.stats("shared"))
        }).pipe(Effect.provide(layer))

        const handled = names.map((name) => state[`handled ${name}`] ?? 0)
        const messages = messagesOf(names)
        for (const { from, n } of messages) assert.strictEqual(state[`seen ${from} ${n}`], 1, `${from} ${n}`)
        assert.strictEqual(
          handled.reduce((sum, count) => sum + count, 0),
          messages.length
        )
        for (const count of handled) assert.isAbove(count, 0)
        for (const name of names) assert.strictEqual(state[`produced ${name}`], messagesEach)
        assert.strictEqual(state["increments"], incrementsEach * names.length)
        assert.deepInclude(stats, { ready: 0, dead: 0 })
        for (const text of seen) assert.deepStrictEqual(JSON.parse(text) as State, state)
        console.log(
          `${backend}: ${messages.length} messages, handled by ${names.map((name, i) => `${name} ${handled[i]}`).join(", ")}`
        )
      })
    )
  })
}

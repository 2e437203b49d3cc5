import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, type Scope } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Memory from "../../src/layers/memory/index.ts"
import * as KvConnect from "../../src/testing/kvConnect/index.ts"
import { serverUrl } from "../servers/index.ts"
import { type ProcessOptions, startProcess, temporaryFolder } from "../support/processes.ts"
import { type Rights, rights, type Room, rooms } from "./permissions.ts"

interface Place {
  /** What the room's option takes. */
  readonly address: string
  /** What the flags name. */
  readonly place: string
  readonly env?: Readonly<Record<string, string>> | undefined
}

const server = (kind: "redis" | "postgres" | "rabbitmq") =>
  Effect.map(serverUrl(kind), (address): Place => ({ address, place: new URL(address).host }))

const file = Effect.map(temporaryFolder, (folder): Place => {
  const name = path.join(fs.realpathSync(folder), "data")
  return { address: name, place: name }
})

const token = "a-token-of-the-test"
const kvConnect = Effect.gen(function* () {
  const store = yield* Layer.build(Memory.layerKv)
  // Below a prefix a client's own queues and jobs are keys like any.
  const gateway = KvConnect.make({ accessTokens: [Redacted.make(token)], prefix: ["tenant"] })
  const { port, url } = yield* Effect.provide(gateway, store)
  return { address: url, place: `127.0.0.1:${port}`, env: { DENO_KV_ACCESS_TOKEN: token } }
})

const places = {
  memory: Effect.succeed<Place>({ address: "", place: "" }),
  sqlite: file,
  denokv: file,
  "denokv-remote": kvConnect,
  redis: server("redis"),
  postgres: server("postgres"),
  rabbitmq: server("rabbitmq")
} satisfies Readonly<Record<Room, Effect.Effect<Place, unknown, Scope.Scope>>>

/** Runs the room with these rights and no others; nobody is there to be asked for more. */
const runWith = (room: Room, flags: ReadonlyArray<string>, args: ReadonlyArray<string>, options?: ProcessOptions) =>
  Effect.scoped(
    Effect.gen(function* () {
      const child = yield* startProcess("deno", "test/runtimes/children/room.ts", [room, ...args], {
        ...options,
        rights: ["--no-prompt", ...flags]
      })
      return { status: yield* child.exit, said: child.lines.join("\n"), errors: child.errors() }
    })
  )

const succeeded = { status: 0, said: "done", errors: "" }

/** What a program hears that lacks the right: Deno's words, or those of the room. */
const denial = (flag: string): RegExp => {
  if (flag === "--unstable-kv") return /run Deno with --unstable-kv/
  if (flag === "--allow-env=DENO_KV_ACCESS_TOKEN") return /DENO_KV_ACCESS_TOKEN/
  return new RegExp(`requires ${/--(?:allow|ignore)-(\w+)/.exec(flag)?.[1]} access`, "i")
}

for (const room of rooms) {
  const rightsOf: (place: string) => Rights = rights[room]
  const { flags: all, variable } = rightsOf("/folder/file")

  describe.concurrent(`Deno's rights for ${room}`, () => {
    it.live("are enough", () =>
      Effect.gen(function* () {
        const { address, env, place } = yield* places[room]
        assert.deepStrictEqual(yield* runWith(room, rightsOf(place).flags, [address], { env }), succeeded)
      })
    )

    for (const [i, flag] of all.entries())
      it.live(`are not enough without ${flag.replace(/=\/.*/, "")}`, () =>
        Effect.gen(function* () {
          const { address, env, place } = yield* places[room]
          const { errors, status } = yield* runWith(room, rightsOf(place).flags.toSpliced(i, 1), [address], { env })
          assert.strictEqual(status, 1, "it works without, too")
          assert.match(errors, denial(flag))
        })
      )

    if (variable !== undefined) {
      it.live(`are enough for layerConfig with --allow-env=${variable}, among variables that may not be read`, () =>
        Effect.gen(function* () {
          const { address, place } = yield* places[room]
          const flags = [...rightsOf(place).flags, `--allow-env=${variable}`]
          assert.deepStrictEqual(yield* runWith(room, flags, [], { env: { [variable]: address } }), succeeded)
        })
      )

      it.live("are not enough for layerConfig without it, and the error says what to type", () =>
        Effect.gen(function* () {
          const { address, place } = yield* places[room]
          const { errors, status } = yield* runWith(room, rightsOf(place).flags, [], { env: { [variable]: address } })
          assert.strictEqual(status, 1)
          assert.include(errors, `${variable} may not be read: run Deno with --allow-env=${variable}`)
        })
      )
    }
  })
}

describe("SQLite without the right to ask for the user's id", () => {
  it.live("still says which file cannot be written, and what to do", () =>
    Effect.gen(function* () {
      const { address, place } = yield* places.sqlite
      const folder = path.dirname(address)
      fs.chmodSync(folder, 0o555)
      yield* Effect.addFinalizer(() => Effect.sync(() => fs.chmodSync(folder, 0o755)))
      // Root may write everywhere.
      const uid = process.getuid?.() === 0 ? 65_534 : undefined
      const { errors, status } = yield* runWith("sqlite", rights.sqlite(place).flags, [address], { uid })
      assert.strictEqual(status, 1)
      assert.include(errors, `SqliteError: ${address} could not be opened: unable to open database file`)
      assert.include(errors, "Give the path of a file on a local disk that this process may write.")
    })
  )
})

describe("a config provider of the program's own", () => {
  it.live("is asked for the address, and no variable is", () =>
    Effect.gen(function* () {
      const { address, place } = yield* places.sqlite
      assert.deepStrictEqual(yield* runWith("sqlite", rights.sqlite(place).flags, ["", address]), succeeded)
    })
  )
})

describe("the table of rights in docs/runtimes.md", () => {
  const text = fs.readFileSync(path.join(import.meta.dirname, "../../docs/runtimes.md"), "utf8")
  const examples: Readonly<Record<Room, string>> = {
    memory: "",
    sqlite: "/var/lib/shop/data.sqlite",
    denokv: "/var/lib/shop/data.db",
    "denokv-remote": "kv.example.com:443",
    redis: "127.0.0.1:6379",
    postgres: "127.0.0.1:5432",
    rabbitmq: "127.0.0.1:5672"
  }
  it.each(rooms)("has the command for %s", (room) => {
    const { flags }: Rights = rights[room](examples[room])
    assert.include(text, `deno run ${[...flags, "main.ts"].join(" ")}\n`)
  })
})

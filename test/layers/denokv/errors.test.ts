import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as fs from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import * as path from "node:path"
import * as DenoKv from "../../../src/layers/denokv/index.ts"
import { startProcess, temporaryFolder } from "../../support/processes.ts"
import { accessToken } from "./support.ts"

const secret = "a-very-secret-token"

const opened = (options: DenoKv.ConnectionOptions) =>
  Effect.flip(Effect.scoped(DenoKv.makeConnection(options))).pipe(Effect.map((error) => error.reason))

describe("options that cannot be used are told by their names", () => {
  const token = Redacted.make(secret)
  const cases: ReadonlyArray<readonly [string, DenoKv.ConnectionOptions, string, RegExp]> = [
    ["no path", {} as DenoKv.ConnectionOptions, "InvalidPath", /"path".*undefined/],
    ["an empty path", { path: "" }, "InvalidPath", /"path".*empty.*:memory:/],
    ["a blank path", { path: "  " }, "InvalidPath", /empty/],
    ["another scheme", { path: "redis://localhost" }, "InvalidPath", /redis:\/\//],
    ["a file URL", { path: "file:///tmp/x.db" }, "InvalidPath", /file:\/\//],
    ["no URL", { path: "http://:80:80/" }, "InvalidPath", /no usable URL/],
    ["credentials in the URL", { path: `http://user:${secret}@localhost/` }, "InvalidPath", /accessToken/],
    ["a token for a file", { path: "/tmp/x.db", accessToken: token }, "InvalidPath", /"accessToken"/],
    [
      "a token that no header carries",
      { path: "http://localhost", accessToken: `${secret}\n` },
      "InvalidPath",
      /header/
    ],
    ["an empty token", { path: "http://localhost", accessToken: "" }, "TokenMissing", /DENO_KV_ACCESS_TOKEN/],
    ["a timeout of zero", { path: ":memory:", timeout: 0 }, "InvalidPath", /"timeout"/],
    ["an endless lock timeout", { path: ":memory:", lockTimeout: "Infinity" }, "InvalidPath", /"lockTimeout"/]
  ]
  for (const [name, options, tag, message] of cases)
    it.live(name, () =>
      Effect.gen(function* () {
        const reason = yield* opened(options)
        assert.strictEqual(reason._tag, tag)
        assert.match(reason.message, message)
        assert.notInclude(reason.message, secret)
      })
    )
})

describe("a file that cannot be opened is told for what it is", () => {
  it.live("its folder is missing, it is a folder, it holds something else", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const text = path.join(folder, "text")
      fs.writeFileSync(text, "this is no database, only text ".repeat(200))
      for (const [at, message] of [
        [path.join(folder, "nowhere", "x.db"), /folder must exist/],
        [folder, /cannot be opened/],
        [text, /something else/]
      ] as const) {
        const reason = yield* opened({ path: at })
        assert.strictEqual(reason._tag, "OpenFailed")
        assert.match(reason.message, message)
        assert.include(reason.message, at)
      }
    })
  )
})

describe("what is no KV Connect server is told for what it is", () => {
  const server = Effect.acquireRelease(
    Effect.callback<http.Server>((resume) => {
      const made = http.createServer((request, response) => {
        const name = (request.url ?? "").slice(1)
        if (/^\d+$/.test(name)) response.statusCode = Number(name)
        if (name === "json") response.setHeader("content-type", "application/json")
        // Never answers.
        if (name === "silent") return
        response.end(`{"token":"${secret}"}`)
      })
      made.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
    }),
    (made) =>
      Effect.callback<void>((resume) => {
        made.closeAllConnections()
        made.close(() => resume(Effect.void))
      })
  )
  const cases: ReadonlyArray<readonly [string, string, RegExp]> = [
    ["404", "WrongServer", /status 404/],
    ["401", "AuthRefused", /accessToken/],
    ["403", "AuthRefused", /accessToken/],
    ["500", "Unreachable", /status 500/],
    ["json", "WrongServer", /metadata/],
    ["text", "WrongServer", /metadata/],
    ["silent", "Unreachable", /no answer within 300 ms/]
  ]
  for (const [name, tag, message] of cases)
    it.live(name, () =>
      Effect.gen(function* () {
        const { port } = (yield* server).address() as AddressInfo
        const at = `http://127.0.0.1:${port}/${name}`
        const connectTimeout = name === "silent" ? 300 : 10_000
        const reason = yield* opened({ path: at, accessToken, connectTimeout })
        assert.strictEqual(reason._tag, tag)
        assert.match(reason.message, message)
        assert.include(reason.message, at)
        assert.notInclude(reason.message, secret)
        assert.notInclude(reason.message, Redacted.value(accessToken))
      })
    )

  it.live("nothing listens, no such name, no TLS", () =>
    Effect.gen(function* () {
      const { port } = (yield* server).address() as AddressInfo
      for (const [at, tag] of [
        ["http://127.0.0.1:9/", "Unreachable"],
        ["http://nobody.invalid/", "Unreachable"],
        [`https://127.0.0.1:${port}/`, "TlsRefused"]
      ] as const)
        assert.strictEqual((yield* opened({ path: at, accessToken }))._tag, tag)
    })
  )
})

describe("Deno without what it needs says what to run it with", () => {
  const child = "test/layers/denokv/children/work.ts"
  const run = (rights: ReadonlyArray<string>, flags: ReadonlyArray<string>, at: string) =>
    Effect.gen(function* () {
      const work = yield* startProcess("deno", child, ["write", at], { rights: ["--no-prompt", ...rights], flags })
      yield* work.exit
      return work.lines.join("\n") + work.errors()
    })
  const modules = "--allow-read=."

  it.live("the flag", () =>
    Effect.gen(function* () {
      assert.match(yield* run(["-A"], [], ":memory:"), /^failed FlagMissing .*--unstable-kv/)
    })
  )

  it.live("rights on the file, and no more than those", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const at = path.join(folder, "x.db")
      const flags = ["--unstable-kv"]
      assert.match(yield* run([modules], flags, at), /^failed PermissionMissing .*--allow-read=/)
      assert.match(yield* run([`${modules},${at}`], flags, at), /^failed PermissionMissing .*--allow-write=/)
      assert.strictEqual(yield* run([`${modules},${at}`, `--allow-write=${at}`], flags, at), "done")
      assert.strictEqual(yield* run([modules], flags, ":memory:"), "done")
    })
  )
})

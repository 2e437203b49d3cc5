/** Where the suites find a Deno KV of their own: a file, and a KV Connect server over a store in memory. */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Effect, Layer, Redacted } from "effect"
import type * as Kv from "../../src/Kv.ts"
import * as DenoKv from "../../src/layers/denokv/index.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as KvConnect from "../../src/testing/kvConnect/index.ts"

/** A file in a folder of its own, which goes with the scope. */
export const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-denokv-"))),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => path.join(folder, "data.db")
)

export const file = (options: DenoKv.KvOptions = {}) =>
  Layer.unwrap(Effect.map(temporaryFile, (filename) => DenoKv.layerKv({ ...options, path: filename })))

export const accessToken = Redacted.make("a-token-for-tests")

/** A KV Connect server of its own over a store in memory, for as long as the scope lives. */
export const connect = (prefix: ReadonlyArray<Kv.KeyPart> = []) =>
  Effect.gen(function* () {
    const memoryKv = yield* Layer.build(Layer.fresh(Memory.layerKv))
    const options = { accessTokens: [accessToken], prefix, tracing: false }
    return yield* KvConnect.make(options).pipe(Effect.provideContext(memoryKv))
  })

export const remote = (options: DenoKv.KvOptions = {}, prefix?: ReadonlyArray<Kv.KeyPart>) =>
  Layer.unwrap(
    Effect.map(connect(prefix), ({ url }) =>
      DenoKv.layerKv({ ...options, path: url, accessToken, timeout: "30 seconds" })
    )
  )

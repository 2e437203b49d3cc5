/** A server with a certificate of its own: one port for HTTP/1.1 and HTTP/2 again, told apart by the handshake. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as https from "node:https"
import * as path from "node:path"
import * as Memory from "../../../src/layers/memory/index.ts"
import * as KvConnect from "../../../src/testing/kvConnect/index.ts"
import { startProcess, temporaryFolder } from "../../support/processes.ts"
import { accessToken, denoOptions } from "./clients.ts"

/** Signed by an authority of its own: Deno takes no certificate that signed itself. */
const certificate = Effect.map(temporaryFolder, (folder) => {
  const file = (name: string) => path.join(folder, name)
  const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", [...args], { stdio: "pipe" })
  const elliptic = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
  openssl(
    "req",
    "-x509",
    "-days",
    "2",
    ...elliptic,
    "-subj",
    "/CN=Test",
    "-keyout",
    file("ca.key"),
    "-out",
    file("ca.pem")
  )
  openssl("req", ...elliptic, "-subj", "/CN=localhost", "-keyout", file("key.pem"), "-out", file("request.pem"))
  fs.writeFileSync(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
  const signed = ["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial", "-extfile", file("names")]
  openssl("x509", "-req", "-days", "2", "-in", file("request.pem"), "-out", file("cert.pem"), ...signed)
  const read = (name: string) => fs.readFileSync(file(name), "utf8")
  return { authority: file("ca.pem"), ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") }
})

describe("a server with TLS", () => {
  it.live("serves both official clients, and nobody without it", () =>
    Effect.gen(function* () {
      const { authority, ca, cert, key } = yield* certificate
      const { port, url } = yield* KvConnect.make({
        accessTokens: [Redacted.make(accessToken)],
        tls: { cert, key: Redacted.make(key) }
      })
      assert.strictEqual(url, `https://127.0.0.1:${port}`)
      const env = { ...denoOptions.env, DENO_CERT: authority, NODE_EXTRA_CA_CERTS: authority }
      const deno = yield* startProcess("deno", "test/testing/kvConnect/children/ask.deno.ts", [url, "sum"], {
        ...denoOptions,
        env
      })
      assert.strictEqual(yield* deno.line("answer: "), "true")
      const node = yield* startProcess("node", "test/testing/kvConnect/children/ask.ts", [url, "n"], { env })
      assert.strictEqual(yield* node.line("answer: "), "1", node.errors())
      const protocol = yield* Effect.callback<string>((resume) => {
        const request = https.request(url, { method: "POST", ca }, (response) => {
          resume(Effect.succeed(response.httpVersion))
          response.resume()
        })
        request.end()
      })
      assert.strictEqual(protocol, "1.1")
      const plain = yield* Effect.promise(() =>
        fetch(`http://127.0.0.1:${port}/`, { method: "POST" }).then(
          ({ status }) => status,
          (error: unknown) => String(error)
        )
      )
      assert.strictEqual(plain, "TypeError: fetch failed")
    }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Memory.layerKv)))
  )
})

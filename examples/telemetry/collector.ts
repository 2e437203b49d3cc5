/**
 * A collector for a look at what is sent: takes OTLP over HTTP as JSON and keeps it, one line for each request, in a file.
 *
 *   node examples/telemetry/collector.ts otlp.jsonl        prints the address to send to
 */
import * as fs from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"

/** Ends with the function it gives. */
export const collect = (
  take: (path: string, body: unknown) => void
): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> =>
  new Promise((resolve, reject) => {
    const server = http.createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        try {
          take(request.url ?? "/", JSON.parse(Buffer.concat(parts).toString()))
          response.writeHead(200, { "content-type": "application/json" }).end("{}")
        } catch (error) {
          response.writeHead(400).end(String(error))
        }
      })
    })
    server.on("error", reject)
    server.listen(0, "127.0.0.1", () => {
      resolve({
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        stop: () =>
          new Promise((done) => {
            server.close(() => done())
            server.closeAllConnections()
          })
      })
    })
  })

if (import.meta.main) {
  const [file] = process.argv.slice(2)
  if (file === undefined) {
    console.error("node examples/telemetry/collector.ts <file>")
    process.exitCode = 2
  } else {
    const { url } = await collect((path, body) => fs.appendFileSync(file, `${JSON.stringify({ path, body })}\n`))
    console.log(`OTEL_EXPORTER_OTLP_ENDPOINT=${url}`)
  }
}

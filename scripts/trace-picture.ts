/**
 * Draws docs/trace.svg from spans that the example of telemetry really sent: one order, from its cron slot to the Kv.
 *
 *   node scripts/trace-picture.ts
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { runExample, type Span, treeOf } from "./otlp.ts"

const colours: Readonly<Record<number, string>> = { 3: "#2f6fb0", 4: "#b3541e", 5: "#2e7d4f" }
const kinds: Readonly<Record<number, string>> = { 3: "client", 4: "producer", 5: "consumer" }
const [width, left, right, row, top] = [960, 250, 130, 30, 64]

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
const millis = (value: number) => `${value < 10 ? value.toFixed(2) : value.toFixed(1)} ms`

/** What of its attributes tells one span from another. */
const note = ({ attributes }: Span): string =>
  ["cron.run.kind", "messaging.message.id", "db.system.name"]
    .flatMap((name) => (attributes[name] === undefined ? [] : [`${name}=${String(attributes[name])}`]))
    .join("  ")

export const draw = (spans: ReadonlyArray<Span>, traceId: string): string => {
  const rows = treeOf(spans, traceId)
  const begin = Math.min(...rows.map(({ span }) => span.start))
  const end = Math.max(...rows.map(({ span }) => span.end))
  const x = (at: number) => left + ((at - begin) / (end - begin)) * (width - left - right)
  const height = top + rows.length * row + 24
  const lines = rows.map(({ depth, span }, i) => {
    const y = top + i * row
    const bar = Math.max(2, x(span.end) - x(span.start))
    return `  <g>
    <title>${escape(JSON.stringify(span.attributes))}</title>
    <text x="${12 + depth * 18}" y="${y + 14}">${escape(span.name)}</text>
    <text class="note" x="${12 + depth * 18}" y="${y + 25}">${escape(note(span))}</text>
    <rect x="${x(span.start).toFixed(1)}" y="${y + 3}" width="${bar.toFixed(1)}" height="14" rx="2" fill="${colours[span.kind] ?? "#777"}"/>
    <text class="note" x="${(x(span.start) + bar + 6).toFixed(1)}" y="${y + 14}">${millis(span.end - span.start)}</text>
  </g>`
  })
  const legend = Object.entries(kinds).map(
    ([kind, name], i) =>
      `  <rect x="${left + i * 110}" y="34" width="12" height="12" rx="2" fill="${colours[Number(kind)]}"/><text class="note" x="${left + 18 + i * 110}" y="44">${name}</text>`
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="A trace: ${escape(rows.map(({ span }) => span.name).join(", "))}">
  <style>
    text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1c1c1c }
    .note { font-size: 10.5px; fill: #666 }
  </style>
  <rect width="${width}" height="${height}" fill="#fff"/>
  <text x="12" y="24" font-weight="600">Trace ${traceId}</text>
  <text class="note" x="12" y="44">${millis(end - begin)} from the slot to the last write</text>
${legend.join("\n")}
${lines.join("\n")}
</svg>
`
}

if (import.meta.main) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "seams-trace-"))
  try {
    const { code, output, spans } = await runExample(3, { SEAMS_DATA: folder })
    if (code !== 0) throw new Error(output)
    // The last: nothing is started or compiled any more.
    const whole = spans.filter(
      ({ name, traceId }) =>
        name === "process orders" && spans.some((span) => span.traceId === traceId && span.name === "run place-orders")
    )
    const last = whole.at(-1)
    if (last === undefined) throw new Error(`no trace has both the run and the handler:\n${output}`)
    const file = fileURLToPath(new URL("../docs/trace.svg", import.meta.url))
    fs.writeFileSync(file, draw(spans, last.traceId))
    console.log(`${file}: ${treeOf(spans, last.traceId).length} spans`)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** Spans as the example of telemetry sends them over OTLP, for the picture in the guide and for tests. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { collect } from "../examples/telemetry/collector.ts"

export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly name: string
  /** 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number
  /** Milliseconds since the epoch. */
  readonly start: number
  readonly end: number
  readonly attributes: Readonly<Record<string, unknown>>
  readonly links: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
  readonly failed: boolean
}

export interface Metric {
  readonly name: string
  readonly attributes: ReadonlyArray<Readonly<Record<string, unknown>>>
}

interface KeyValue {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

const plain = (all: ReadonlyArray<KeyValue>) =>
  Object.fromEntries(all.map(({ key, value }) => [key, Object.values(value)[0]]))

// What OTLP sends as JSON; only the parts that are read here.
const spansOf = (body: any): ReadonlyArray<Span> =>
  body.resourceSpans.flatMap((resource: any) =>
    resource.scopeSpans.flatMap((scope: any) =>
      scope.spans.map((span: any): Span => ({
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId || undefined,
        name: span.name,
        kind: span.kind,
        start: Number(BigInt(span.startTimeUnixNano) / 1_000n) / 1_000,
        end: Number(BigInt(span.endTimeUnixNano) / 1_000n) / 1_000,
        attributes: plain(span.attributes),
        links: span.links,
        failed: span.status.code === 2
      }))
    )
  )

const metricsOf = (body: any): ReadonlyArray<Metric> =>
  body.resourceMetrics.flatMap((resource: any) =>
    resource.scopeMetrics.flatMap((scope: any) =>
      scope.metrics.map((metric: any): Metric => ({
        name: metric.name,
        attributes: ((metric.sum ?? metric.gauge ?? metric.histogram)?.dataPoints ?? []).map((point: any) =>
          plain(point.attributes)
        )
      }))
    )
  )

/** Runs the example until it has handled that many orders, and gives what it sent. */
export const runExample = async (
  orders: number,
  env: Readonly<Record<string, string>>
): Promise<{
  readonly code: number | null
  readonly output: string
  readonly spans: ReadonlyArray<Span>
  readonly metrics: ReadonlyArray<Metric>
}> => {
  const spans: Array<Span> = []
  const metrics: Array<Metric> = []
  const collector = await collect((path, body) => {
    if (path === "/v1/traces") spans.push(...spansOf(body))
    if (path === "/v1/metrics") metrics.push(...metricsOf(body))
  })
  const main = fileURLToPath(new URL("../examples/telemetry/main.ts", import.meta.url))
  const child = spawn(process.execPath, [main, "--orders", String(orders)], {
    env: { ...process.env, ...env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
  })
  let output = ""
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()))
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject)
      child.on("close", resolve)
    })
    return { code, output, spans, metrics }
  } finally {
    child.kill("SIGKILL")
    await collector.stop()
  }
}

/** The spans of a trace, parents before their children, each with its depth. */
export const treeOf = (
  spans: ReadonlyArray<Span>,
  traceId: string
): ReadonlyArray<{ readonly span: Span; readonly depth: number }> => {
  const all = spans.filter((span) => span.traceId === traceId).toSorted((a, b) => a.start - b.start)
  const known = new Set(all.map(({ spanId }) => spanId))
  const rows: Array<{ readonly span: Span; readonly depth: number }> = []
  const add = (parent: string | undefined, depth: number): void => {
    for (const span of all) {
      const under = span.parentSpanId !== undefined && known.has(span.parentSpanId) ? span.parentSpanId : undefined
      if (under !== parent) continue
      rows.push({ span, depth })
      add(span.spanId, depth + 1)
    }
  }
  add(undefined, 0)
  return rows
}

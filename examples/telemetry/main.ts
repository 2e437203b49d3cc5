/**
 * A job enqueues a message, a worker handles it and writes to the Kv; traces, metrics and logs go to an OpenTelemetry collector.
 *
 *   OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 npm run telemetry
 *   ... -- --orders 3          ends when three orders are handled (default: goes on until Ctrl-C)
 *
 * The backends are what the environment says (REDIS_URI, RABBITMQ_URI, ...), else a file. The library creates spans and metrics;
 * that they are exported, and where to, is said by the one layer `telemetry`.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Otlp from "effect/observability/Otlp"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import { parseArgs } from "node:util"
// Installed, a program writes: import { Cron, Discovery, Kv, Queue } from "effect-seams"
import * as Cron from "../../src/Cron.ts"
import * as Discovery from "../../src/Discovery.ts"
import * as Kv from "../../src/Kv.ts"
import * as Queue from "../../src/Queue.ts"

const Orders = Queue.define("orders", { payload: Schema.Struct({ slot: Schema.DateTimeUtc }) })
const Revenue = Kv.collection(["revenue"], { key: Schema.String, value: Schema.Struct({ cents: Schema.Finite }) })

const placeOrders = Cron.enqueues("place-orders", { schedule: Cron.every("1 second") }, Orders, (run) => ({
  slot: run.scheduledTime
}))

/** Completes `enough` when that many were handled. */
const handleOrders = (orders: number, enough: Deferred.Deferred<void>) => {
  let handled = 0
  return Orders.worker(({ slot }) =>
    Effect.gen(function* () {
      yield* Revenue.set(DateTime.formatIso(slot), { cents: 1_999 })
      yield* Kv.sum(["orders"], 1n)
      if (++handled === orders) yield* Deferred.succeed(enough, undefined)
    })
  )
}

const telemetry = Layer.unwrap(
  Effect.gen(function* () {
    const baseUrl = yield* Config.String("OTEL_EXPORTER_OTLP_ENDPOINT").pipe(
      Config.withDefault("http://localhost:4318")
    )
    return Otlp.layerJson({
      baseUrl,
      resource: { serviceName: "orders" },
      tracerExportInterval: "1 second",
      metricsExportInterval: "1 second"
    })
  })
).pipe(Layer.provide(FetchHttpClient.layer))

const program = (orders: number) =>
  Effect.gen(function* () {
    const enough = yield* Deferred.make<void>()
    const jobs = Layer.mergeAll(placeOrders.layer, handleOrders(orders, enough)).pipe(Layer.provide(Discovery.layer))
    yield* Effect.scoped(Effect.andThen(Layer.build(jobs), Deferred.await(enough)))
  }).pipe(Effect.provide(telemetry))

const { values } = parseArgs({ options: { orders: { type: "string" } } })
const orders = values.orders === undefined ? Number.POSITIVE_INFINITY : Number(values.orders)
if (!(orders >= 1)) {
  console.error(`--orders is "${values.orders}"; give a whole number from 1`)
  process.exitCode = 2
} else
  NodeRuntime.runMain(program(orders), {
    // Being stopped is how it ends well.
    teardown: (exit, onExit) =>
      Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? onExit(0) : Runtime.defaultTeardown(exit, onExit)
  })

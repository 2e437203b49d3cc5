import { Context, Effect, Layer } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"
import { withoutClock } from "../../src/testing/cronLines.ts"
import { kvPatternsSuite } from "../../src/testing/kvPatternsSuite.ts"
import { temporaryFile } from "../support/processes.ts"

const pair = Effect.flatMap(Memory.makeKvDriver({ limits: "portable" }), (driver) =>
  Effect.all([Kv.make(driver), Kv.make(driver)])
)

kvPatternsSuite("memory", { layer: Memory.layerKvWith({ limits: "portable" }), clock: "virtual", pair })

kvPatternsSuite("memory on the real clock", { layer: Memory.layerKv, clock: "live", pair })

// What has no clock for all, as Deno KV: leases are observed.
kvPatternsSuite("processes with clocks of their own", {
  layer: Layer.effect(
    Kv.Kv,
    Effect.map(
      Effect.flatMap(Memory.makeKvDriver(), (driver) => Kv.make(driver)),
      withoutClock
    )
  ),
  clock: "virtual",
  pair: Effect.map(pair, ([one, two]) => [withoutClock(one), withoutClock(two)] as const)
})

const serviceOf = (filename: string) =>
  Effect.map(Layer.build(Layer.fresh(Sqlite.layerKv({ filename }))), (context) => Context.get(context, Kv.Kv))

kvPatternsSuite("sqlite, two connections to one file", {
  layer: Layer.unwrap(Effect.map(temporaryFile, (filename) => Sqlite.layerKv({ filename }))),
  clock: "live",
  pair: Effect.flatMap(temporaryFile, (filename) => Effect.all([serviceOf(filename), serviceOf(filename)]))
})

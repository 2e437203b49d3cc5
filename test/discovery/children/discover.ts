/** Builds what the environment says, and prints how that went. Its argument names the layer, or nothing is built. */
import { Effect, type Layer, Logger } from "effect"
import { Discovery } from "../../../src/index.ts"

const report = Effect.gen(function* () {
  const { choices, denied } = yield* Discovery.Report
  return {
    choices: (yield* choices).map(({ backend, seam, source }) => `${seam} ${backend} ${source}`),
    denied: yield* denied
  }
})

const quick = { probeTimeout: "2 seconds" } as const
const layers = {
  all: Discovery.layerWith(quick),
  kv: Discovery.layerKvWith(quick),
  queue: Discovery.layerQueueWith(quick),
  cron: Discovery.layerCronWith(quick)
} as const

const name = process.argv[2] ?? "none"
if (Object.hasOwn(layers, name)) {
  const layer: Layer.Layer<Discovery.Report, Discovery.DiscoveryError> = layers[name as keyof typeof layers]
  const result = await Effect.runPromise(
    report.pipe(
      Effect.provide(layer),
      Effect.catch(({ message, reason }) => Effect.succeed({ failed: reason._tag, message })),
      Effect.provide(Logger.layer([]))
    )
  )
  console.log(`result ${JSON.stringify(result)}`)
}

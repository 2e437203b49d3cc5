import { Effect } from "effect"
import * as Kv from "../../src/Kv.ts"
import * as Memory from "../../src/layers/memory/index.ts"
import { cronCrashSuite } from "../../src/testing/cronKvSuite.ts"

const processes = (count: number) =>
  Effect.flatMap(Memory.makeKvDriver(), (driver) => Effect.replicateEffect(Kv.make(driver), count))

const seed = Number(process.env["SEAMS_CRON_SEED"] ?? 1)
const slots = process.env["SEAMS_CRON_SLOTS"]
const soak = process.env["SEAMS_SOAK"] === "1"

cronCrashSuite("memory", { processes, seed, slots: Number(slots ?? (soak ? 10_000 : 3_000)) })

cronCrashSuite("memory, as a store without a clock", {
  processes,
  seed,
  slots: Number(slots ?? 2_000),
  ownClocks: true
})

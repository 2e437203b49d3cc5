import { assert, describe, it } from "@effect/vitest"
import { describeFailure, run } from "./fuzz.ts"

describe("random expressions around clock changes", () => {
  // Another seed every time; `node test/cron/fuzz.main.ts` goes on for longer.
  const seed = Number(process.env.SEAMS_FUZZ_SEED ?? Date.now() % 1_000_000_000)
  it(`are due when the oracle says so, seed ${seed}`, () => {
    const report = run({ seed, more: (rounds) => rounds < 40 })
    assert.isUndefined(report.failure, describeFailure(report))
  })
})

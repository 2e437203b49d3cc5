import { parseArgs } from "node:util"
import { describeFailure, run } from "./fuzz.ts"

// The long form of fuzz.test.ts: node test/cron/fuzz.main.ts --seconds 600 --seed 1
const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    round: { type: "string", default: "0" },
    rounds: { type: "string", default: "Infinity" }
  }
})
const seed = Number(values.seed)
const firstRound = Number(values.round)
const start = performance.now()
const elapsed = () => (performance.now() - start) / 1000

console.log(`seed ${seed}`)
const report = run({
  seed,
  firstRound,
  more: (rounds) => rounds < Number(values.rounds) && elapsed() < Number(values.seconds)
})
console.log(
  `${report.cases} cases in ${report.rounds} rounds, ${report.transitions} transitions of ${report.zones} zones, ` +
    `${elapsed().toFixed(1)} s, ${(report.cases / elapsed()).toFixed(0)} cases/s`
)
if (report.failure !== undefined) {
  console.log(describeFailure(report, firstRound))
  process.exitCode = 1
}

/**
 * Cron against croner, cron-parser and Effect's own `Cron`, side by side in one process and in turn, so that the machine's moods
 * hit all. Ours is asked through the public `Schedule.next`, which answers with an `Option` of a `DateTime`; the others by their
 * fastest way to the next instant. What is printed is the median of the rounds.
 *
 *   cd bench && npm install && npm run cron          SEAMS_BENCH=short for a quick run
 *
 * Exits with 1 when a goal is missed.
 */
import { Cron as Croner } from "croner"
import { CronExpressionParser } from "cron-parser"
import { Clock, Cron as EffectCron, Effect, Option, Result } from "effect"
import * as Cron from "../src/Cron.ts"

const short = process.env["SEAMS_BENCH"] === "short"
const rounds = short ? 3 : 7
const roundMillis = short ? 40 : 150
const goal = 10
let missed = false

const start = Date.parse("2026-01-01T00:00:00Z")
const end = Date.parse("2036-01-01T00:00:00Z")

/** One call to the next instant after the last one; starts over after ten years. */
type Step = () => void

const ours = (expression: string, timezone: string): Step => {
  const schedule = Result.getOrThrow(Cron.parse(expression, { timezone }))
  let at = start
  return () => {
    const next = schedule.next(at)
    at = Option.isSome(next) && next.value.epochMilliseconds < end ? next.value.epochMilliseconds : start
  }
}

const rivals: Readonly<Record<string, (expression: string, timezone: string) => Step>> = {
  croner: (expression, timezone) => {
    const job = new Croner(expression, { timezone, paused: true })
    let at = new Date(start)
    return () => {
      const next = job.nextRun(at)
      at = next !== null && next.getTime() < end ? next : new Date(start)
    }
  },
  "cron-parser": (expression, tz) => {
    const fresh = () => CronExpressionParser.parse(expression, { tz, currentDate: new Date(start) })
    let iterator = fresh()
    return () => {
      if (iterator.next().getTime() >= end) iterator = fresh()
    }
  },
  "effect Cron": (expression, timezone) => {
    const cron = EffectCron.parseUnsafe(expression, timezone)
    let at = new Date(start)
    return () => {
      const next = EffectCron.next(cron, at)
      at = next.getTime() < end ? next : new Date(start)
    }
  }
}

const callsPerSecond = (step: Step): number => {
  const from = performance.now()
  let calls = 0
  let spent = 0
  while (spent < roundMillis) {
    for (let i = 0; i < 20; i++) step()
    calls += 20
    spent = performance.now() - from
  }
  return (calls / spent) * 1_000
}

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const expressions = [
  "* * * * *",
  "*/15 * * * *",
  "0 9 * * 1-5",
  "30 2 * * *",
  "0 0 1 * *",
  "0 0 13 * 5",
  "0 0 29 2 *",
  "*/10 * * * * *",
  "0 0 L * *",
  "0 12 * * 5#2"
] as const
const zones = ["UTC", "America/New_York"] as const

console.log(`next() per second, median of ${rounds} rounds`)
console.log(`${"expression".padEnd(36)}${"ours".padStart(12)}${"fastest other".padStart(26)}${"ratio".padStart(8)}`)
for (const expression of expressions) {
  for (const zone of zones) {
    const steps = new Map<string, Step>([["ours", ours(expression, zone)]])
    for (const [name, make] of Object.entries(rivals)) {
      try {
        const step = make(expression, zone)
        step()
        steps.set(name, step)
      } catch {
        // It cannot read this expression.
      }
    }
    const results = new Map<string, Array<number>>(Array.from(steps.keys(), (name) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      for (const [name, step] of steps) results.get(name)!.push(callsPerSecond(step))
    }
    const mine = median(results.get("ours")!)
    const [best, rate] = Array.from(results, ([name, all]) => [name, median(all)] as const)
      .filter(([name]) => name !== "ours")
      .toSorted(([, a], [, b]) => b - a)[0]!
    const ratio = mine / rate
    if (ratio < goal) missed = true
    const other = `${Math.round(rate).toLocaleString("en")} ${best}`
    console.log(
      `${`${expression}  ${zone}`.padEnd(36)}${Math.round(mine).toLocaleString("en").padStart(12)}${other.padStart(26)}${`${ratio.toFixed(1)}x`.padStart(8)}`
    )
  }
}

const percentile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN

const collect = (): number => {
  ;(globalThis as { gc?: () => void }).gc?.()
  return process.memoryUsage().heapUsed
}

const noon = (i: number) => `${i % 60} ${Math.floor(i / 60) % 24} 1 1 *`

/** Share of a core that is spent while `millis` pass. */
const idleShare = (millis: number) =>
  Effect.gen(function* () {
    const from = process.cpuUsage()
    yield* Effect.sleep(millis)
    const spent = process.cpuUsage(from)
    return (spent.user + spent.system) / 1_000 / millis
  })

const jobs = Effect.gen(function* () {
  const scheduler = yield* Cron.Scheduler
  const before = collect()
  const times: Array<number> = []
  for (let i = 0; i < 10_000; i++) {
    const from = performance.now()
    yield* scheduler.schedule(Cron.job(`job-${i}`, { schedule: noon(i), timezone: zones[i % 2] }, () => Effect.void))
    times.push(performance.now() - from)
  }
  const bytes = (collect() - before) / 10_000
  const share = yield* idleShare(short ? 2_000 : 10_000)
  const early = median(times.slice(500, 1_500)) * 1_000
  const late = median(times.slice(9_000)) * 1_000
  console.log(
    `10,000 jobs: ${Math.round(bytes)} bytes each, registered in ${early.toFixed(0)} us (around the 1,000th) and ${late.toFixed(0)} us ` +
      `(the last 1,000); idle ${(share * 100).toFixed(2)} % of a core`
  )
  if (share > 0.01) missed = true
})

const cronerJobs = Effect.gen(function* () {
  const before = collect()
  const all = Array.from(
    { length: 10_000 },
    (_, i) => new Croner(noon(i), { timezone: zones[i % 2]! }, () => undefined)
  )
  const bytes = (collect() - before) / 10_000
  const share = yield* idleShare(short ? 2_000 : 10_000)
  for (const job of all) job.stop()
  console.log(`10,000 jobs of croner: ${Math.round(bytes)} bytes each; idle ${(share * 100).toFixed(2)} % of a core`)
})

const seconds = short ? 3 : 10

const lateness = Effect.gen(function* () {
  const scheduler = yield* Cron.Scheduler
  const late: Array<number> = []
  for (let i = 0; i < 200; i++) {
    yield* scheduler.schedule(
      Cron.job(`tick-${i}`, { schedule: "* * * * * *" }, (run) =>
        Effect.map(Clock.currentTimeMillis, (now) => void late.push(now - run.scheduledTime.epochMilliseconds))
      )
    )
  }
  yield* Effect.sleep(seconds * 1_000)
  return late
})

const cronerLateness = Effect.gen(function* () {
  const late: Array<number> = []
  const all = Array.from({ length: 200 }, () => new Croner("* * * * * *", () => void late.push(Date.now() % 1_000)))
  yield* Effect.sleep(seconds * 1_000)
  for (const job of all) job.stop()
  return late
})

const report = (name: string, late: ReadonlyArray<number>) =>
  console.log(
    `200 jobs due in each second, ${name}: late by ${percentile(late, 0.5)} ms (median), ${percentile(late, 0.99)} ms (p99), ${late.length} runs`
  )

await Effect.runPromise(Effect.provide(jobs, Cron.layerProcess))
await Effect.runPromise(cronerJobs)
report("ours", await Effect.runPromise(Effect.provide(lateness, Cron.layerProcess)))
report("croner", await Effect.runPromise(cronerLateness))

if (missed) {
  console.log(`a goal was missed: ${goal}x the fastest other engine, at most 1 % of a core when idle`)
  process.exit(1)
}

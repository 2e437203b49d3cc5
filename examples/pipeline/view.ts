/**
 * What the user sees: a live view while it works, a table at the end.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Queue from "../../src/Queue.ts"
import { Files, measures, readTotals } from "./model.ts"
import { Progress } from "./progress.ts"
import { Screen } from "./screen.ts"

const number = (n: number | bigint) => n.toLocaleString("en")

/** What is still to be counted. What a queue does not know is not in it. */
const leftOf = ({ claimed = 0, delayed = 0, ready }: Queue.Stats) => ready + claimed + delayed

const seconds = (millis: number) => {
  const whole = Math.floor(millis / 1000)
  return whole < 60 ? `${(millis / 1000).toFixed(1)} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}

/** Five times a second on a terminal; elsewhere a line every two seconds while something happens. A Layer. */
export const liveView = (title: string) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const screen = yield* Screen
      const progress = yield* Progress
      const began = yield* Clock.currentTimeMillis
      yield* screen.print(title)

      /** Files counted lately, for a rate that follows. */
      const recent: Array<{ readonly at: number; readonly counted: number }> = [{ at: began, counted: 0 }]
      const rate = (now: number) => {
        recent.push({ at: now, counted: progress.counted })
        while (recent.length > 2 && recent[0]!.at < now - 5000) recent.shift()
        const first = recent[0]!
        return now > first.at ? ((progress.counted - first.counted) * 1000) / (now - first.at) : 0
      }
      const columns = ({ claimed, dead, delayed = 0, ready }: Queue.Stats, now: number) => [
        `queued ${number(ready)}`,
        ...(claimed === undefined ? [] : [`running ${number(claimed)}`]),
        `done ${number(progress.counted)}`,
        ...(delayed > 0 ? [`retrying ${number(delayed)}`] : []),
        `failed ${number(dead)}`,
        `rate ${number(Math.round(rate(now)))}/s`,
        `elapsed ${seconds(now - began)}`
      ]
      const bar = (stats: Queue.Stats) => {
        const left = leftOf(stats)
        const part = left === 0 ? 1 : progress.counted / (progress.counted + left)
        return `[${"#".repeat(Math.floor(part * 40)).padEnd(40, ".")}]`
      }
      const draw = Effect.gen(function* () {
        const stats = yield* Files.stats
        const now = yield* Clock.currentTimeMillis
        const scans = progress.scans === 0 ? "first scan" : `${number(progress.scans)} scan(s)`
        yield* screen.draw(["", `  ${bar(stats)}  ${scans}`, `  ${columns(stats, now).join("  ")}`])
      })
      let last = ""
      const line = Effect.gen(function* () {
        const stats = yield* Files.stats
        const now = yield* Clock.currentTimeMillis
        const state = [stats.ready, stats.claimed, stats.delayed, stats.dead, progress.counted].join()
        if (state !== last) yield* screen.print(columns(stats, now).join("  "))
        last = state
      })
      yield* Effect.addFinalizer(() => screen.draw([]))
      yield* (screen.isTerminal ? draw : line).pipe(
        // A store that does not answer for a moment shows in the numbers of the next one.
        Effect.ignore,
        Effect.delay(screen.isTerminal ? "200 millis" : "2 seconds"),
        Effect.forever,
        Effect.forkScoped
      )
    })
  )

const shown = 20

/** The table at the end, the dead letters of this folder, and where it is all kept. */
export const report = Effect.fn("report")(function* (root: string, data: string) {
  const { print } = yield* Screen
  const progress = yield* Progress
  const totals = yield* readTotals(root)
  const stats = yield* Files.stats
  const row = (cells: ReadonlyArray<string>) =>
    print(`  ${cells.map((cell, i) => (i === 0 ? cell.padEnd(8) : cell.padStart(18))).join("")}`)

  yield* print("")
  yield* row(["", "in the folder", "counted in", "counted out"])
  for (const measure of measures) {
    const total = totals[measure]
    yield* row([measure, number(total.in - total.out), number(total.in), number(total.out)])
  }
  yield* print("")
  yield* print(`  ${number(progress.counted)} counted and ${number(progress.removed)} removed by this run.`)
  const left = leftOf(stats)
  if (left > 0) yield* print(`  ${number(left)} still queued; they are counted when the pipeline runs again.`)

  const letters = Files.deadLetters
    .list()
    .pipe(Stream.filter(({ payload }) => Option.isSome(payload) && payload.value.root === root))
  let dead = 0
  yield* Stream.runForEach(letters, (letter) => {
    const path = Option.match(letter.payload, { onNone: () => letter.text, onSome: (file) => file.path })
    const reason = Option.getOrElse(letter.error, () => letter.reason).replace(/^Unreadable: /, "")
    dead++
    if (dead > shown) return Effect.void
    const heading =
      dead === 1 ? print("\n  Could not be read (run again with --requeue to try once more):") : Effect.void
    return Effect.andThen(heading, print(`    ${path}: ${reason}`))
  })
  if (dead > shown) yield* print(`    ... and ${number(dead - shown)} more`)
  let first = true
  for (const [path, reason] of progress.skipped) {
    if (first) yield* print("\n  Not looked at:")
    first = false
    yield* print(`    ${path}: ${reason}`)
  }
  yield* print(`\n  Data is kept in ${data}`)
})

/**
 * The guarantee about slots with real processes: three schedulers over one store, killed with SIGKILL and stopped with SIGSTOP for
 * three leases at random, on a job of each second. A backend is one call, with a child script that provides its Kv.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import * as Cron from "../../src/Cron.ts"
import type * as Kv from "../../src/Kv.ts"
import { type CronStart, judgeCron } from "../../src/testing/cronJudge.ts"
import { type Child, type Runtime, startProcess } from "../support/processes.ts"
import { proofJob, proofLease, proofPeriod } from "./cronChild.ts"

interface Place {
  readonly runner: string
  readonly child: Child
  readonly scope: Scope.Closeable
}

const startsOf = ({ child, runner }: Place): ReadonlyArray<CronStart> =>
  child.lines.flatMap((line) => {
    const [word, slot, attempt, token] = line.split(" ")
    return word === "start" ? [{ slot: Number(slot), attempt: Number(attempt), token: Number(token), runner }] : []
  })

export const cronProcesses = <E>(
  name: string,
  options: {
    /** Below the root of the project; its last argument is the name of the runner. */
    readonly script: string
    readonly store: Effect.Effect<
      { readonly args: ReadonlyArray<string>; readonly kv: Layer.Layer<Kv.Kv, E> },
      never,
      Scope.Scope
    >
    /** How long they are killed and stopped. */
    readonly seconds: number
    /** What the three run on. Default: Node. */
    readonly runtimes?: ReadonlyArray<Runtime> | undefined
  }
): void => {
  describe(`three schedulers over ${name}, killed and stopped at random for ${options.seconds} s`, () => {
    it.live(
      "start each slot once, and again only when the runner lost its lease",
      () =>
        Effect.gen(function* () {
          const { args, kv } = yield* options.store
          const all: Array<Place> = []
          const lost = new Set<string>()
          const tally = { killed: 0, stopped: 0 }
          const launch = Effect.gen(function* () {
            const runner = `runner-${all.length + 1}`
            const runtime = options.runtimes?.[all.length % options.runtimes.length] ?? "node"
            const scope = yield* Scope.make()
            yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
            const child = yield* Scope.provide(startProcess(runtime, options.script, [...args, runner]), scope)
            const place = { runner, child, scope }
            all.push(place)
            return place
          }).pipe(Effect.uninterruptible)
          const places = yield* Effect.all([launch, launch, launch])
          // Not for a start of each: who is first at a slot is nobody's promise, and a slow runtime may be second for minutes.
          yield* Effect.forEach(places, ({ child }) => child.line("up"), { concurrency: 3 })

          const trouble = (i: number) =>
            Effect.gen(function* () {
              while (true) {
                yield* Effect.sleep(2_000 + Math.random() * 4_000)
                const { child, runner, scope } = places[i]!
                lost.add(runner)
                if (Math.random() < 0.5) {
                  tally.killed++
                  yield* child.kill("SIGKILL")
                  yield* Scope.close(scope, Exit.void)
                  yield* Effect.sleep(Math.random() * 2_000)
                  places[i] = yield* launch
                } else {
                  tally.stopped++
                  yield* child.kill("SIGSTOP")
                  yield* Effect.sleep(3 * proofLease)
                  yield* child.kill("SIGCONT")
                }
              }
            })
          yield* Effect.forEach([0, 1, 2], trouble, { concurrency: 3, discard: true }).pipe(
            Effect.timeoutOption(options.seconds * 1_000)
          )
          for (const { child } of places) yield* child.kill("SIGCONT")
          // A place that was between two processes gets its next one.
          for (const [i, { child }] of places.entries()) if (child.over()) places[i] = yield* launch

          const history = yield* Effect.gen(function* () {
            const scheduler = yield* Cron.Scheduler
            yield* Effect.sleep(2 * proofLease)
            const settled = Effect.map(
              scheduler.get(proofJob),
              (info) => info.waiting === 0 && info.running.every((run) => run.scheduledTime.epochMilliseconds > quiet)
            )
            const quiet = Date.now() - proofLease
            while (!(yield* settled)) yield* Effect.sleep(100)
            yield* scheduler.disable(proofJob)
            while ((yield* scheduler.get(proofJob)).running.length > 0) yield* Effect.sleep(100)
            return yield* scheduler.history(proofJob, { limit: 500 })
          }).pipe(Effect.provide(Cron.layerKvWith({ lease: proofLease, history: 500 }).pipe(Layer.provide(kv))))

          const starts = all.flatMap(startsOf).toSorted((a, b) => a.token - b.token)
          const ends = history.map(({ attempt, outcome, scheduledTime, token }) => ({
            slot: scheduledTime.epochMilliseconds,
            attempt,
            outcome,
            token
          }))
          const verdict = judgeCron({ period: proofPeriod, starts, ends, lost })
          console.log(
            `cron over ${name}: ${verdict.slots} slots by ${all.length} processes (${tally.killed} killed, ${tally.stopped} stopped ` +
              `for ${3 * proofLease} ms), ${verdict.starts} starts, ${verdict.again} slots started again`
          )
          assert.deepStrictEqual(verdict.problems, [])
          assert.isAtLeast(verdict.slots, options.seconds)
          for (const { child } of all) assert.strictEqual(child.errors(), "")
        }),
      (options.seconds + 120) * 1_000
    )
  })
}

/**
 * Runs the contract suites on the lowest Node, on Deno and on Bun: `npm run test:runtimes -- [node22] [node24] [deno] [bun] [--quick] [files]`.
 * Reports for test-totals.ts are left in .ci/. `docs/runtimes.md` says more.
 */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { performance } from "node:perf_hooks"
import { Effect } from "effect"
import { measuredPace } from "./measuredPace.ts"
import { root } from "./process.ts"
import { type Binary, binaryOf, type RuntimeName } from "./runtimes/binaries.ts"
import { planOf, reportOf } from "./runtimes/plan.ts"
import { type Report, totalsOf } from "./test-totals.ts"

interface Outcome {
  readonly runtime: string
  readonly line: string
  readonly ok: boolean
}

/** Measured once and here: another engine has another speed. */
const pace = process.env["SEAMS_PACE"] ?? String(measuredPace())

const vitest = Path.join("node_modules", "vitest", "vitest.mjs")

const runOn = (name: RuntimeName, { args, file, runtime }: Binary, words: ReadonlyArray<string>, shown: boolean) =>
  Effect.callback<Outcome>((resume) => {
    const report = Path.join(root, reportOf(name))
    Fs.rmSync(report, { force: true })
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`]
    const started = performance.now()
    console.log(`==> ${runtime}: vitest run ${words.join(" ")}`)
    const child = spawn(file, [...args, vitest, "run", ...reporters, ...words], {
      cwd: root,
      env: { ...process.env, SEAMS_RUNTIME: runtime, SEAMS_PACE: pace, DENO_NO_UPDATE_CHECK: "1" },
      stdio: ["ignore", shown ? "inherit" : "pipe", shown ? "inherit" : "pipe"]
    })
    const printed: Array<Buffer> = []
    child.stdout?.on("data", (data: Buffer) => printed.push(data))
    child.stderr?.on("data", (data: Buffer) => printed.push(data))
    child.on("error", (error) => resume(Effect.succeed({ runtime, line: error.message, ok: false })))
    child.on("close", (status, signal) => {
      if (!shown) process.stdout.write(Buffer.concat(printed))
      const seconds = Math.round((performance.now() - started) / 1_000)
      const totals = Fs.existsSync(report)
        ? totalsOf([JSON.parse(Fs.readFileSync(report, "utf8")) as Report])
        : { line: `no report: vitest ended with ${signal ?? `status ${status}`}`, ok: false }
      resume(Effect.succeed({ runtime, line: `${totals.line} in ${seconds} s`, ok: totals.ok && status === 0 }))
    })
  })

const { runtimes, together, vitest: words } = planOf(process.argv.slice(2))
try {
  // Before any test runs: one that cannot be had ends it all.
  const binaries = runtimes.map((name) => [name, binaryOf(name)] as const)
  const outcomes = await Effect.runPromise(
    Effect.forEach(binaries, ([name, binary]) => runOn(name, binary, words, !together), {
      concurrency: together ? "unbounded" : 1
    })
  )
  for (const { line, ok, runtime } of outcomes) console.log(`${ok ? "ok    " : "FAILED"} ${runtime}: ${line}`)
  if (outcomes.some(({ ok }) => !ok)) process.exitCode = 1
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}

/**
 * Prints `N passed, N failed` from the JSON report of vitest (first argument) as a line of its own, and fails when a
 * test failed, when a test file could not run, or when no test ran at all.
 */
import * as Fs from "node:fs"

/** The part of vitest's JSON report that is read here. */
export interface Report {
  readonly success: boolean
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: ReadonlyArray<{
    readonly status: string
    readonly assertionResults: ReadonlyArray<{ readonly status: string }>
  }>
}

export interface Totals {
  readonly line: string
  readonly ok: boolean
}

export const totalsOf = (report: Report): Totals => {
  // A file that does not load has no tests to count; it counts as one failure, or it would go unseen.
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")
  ).length
  const failed = report.numFailedTests + brokenFiles
  const skipped = report.numPendingTests + report.numTodoTests
  return {
    line: `${report.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`,
    ok: report.success && failed === 0 && report.numPassedTests > 0
  }
}

if (import.meta.main) {
  const file = process.argv[2] ?? ""
  if (!Fs.existsSync(file)) {
    console.log("0 passed, 0 failed")
    console.error(`test-totals: no report at "${file}": the tests did not run`)
    process.exit(1)
  }
  const totals = totalsOf(JSON.parse(Fs.readFileSync(file, "utf8")))
  if (!totals.ok) process.exitCode = 1
  console.log(totals.line)
}

/**
 * Prints what failed in the JSON reports of vitest that are named (one for each run), then `N passed, N failed` as a line of its
 * own, and fails when a test failed, when a test file could not run, when a report is missing, or when it is of a run without tests.
 */
import * as Fs from "node:fs"
import { measuredPace } from "./measuredPace.ts"

/** The part of vitest's JSON report that is read here. */
export interface Report {
  readonly success: boolean
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly status: string
      readonly fullName: string
      readonly failureMessages: ReadonlyArray<string> | null
    }>
  }>
}

export interface Totals {
  readonly line: string
  readonly ok: boolean
}

/** Of several reports the numbers are added up, and one that is not well makes the whole not well. */
export const totalsOf = (reports: ReadonlyArray<Report>): Totals => {
  const sum = (count: (report: Report) => number): number => reports.reduce((all, report) => all + count(report), 0)
  // A file that does not load has no tests to count; it counts as one failure, or it would go unseen.
  const brokenFiles = sum(
    ({ testResults }) =>
      testResults.filter(
        (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")
      ).length
  )
  const passed = sum(({ numPassedTests }) => numPassedTests)
  const failed = sum(({ numFailedTests }) => numFailedTests) + brokenFiles
  const skipped = sum(({ numPendingTests, numTodoTests }) => numPendingTests + numTodoTests)
  return {
    line: `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`,
    ok: failed === 0 && reports.length > 0 && reports.every((report) => report.success && report.numPassedTests > 0)
  }
}

/** The beginning of what a test threw: its message, and the place. */
const shortened = (message: string): string =>
  message
    .split("\n")
    .slice(0, 12)
    .map((line) => `    ${line.slice(0, 300)}`)
    .join("\n")

/** A paragraph for each test that failed, and for each file that did not load: a log is read from its end. */
export const failuresOf = (reports: ReadonlyArray<Report>): ReadonlyArray<string> =>
  reports.flatMap(({ testResults }) =>
    testResults.flatMap((file) => {
      const failed = file.assertionResults.filter((test) => test.status === "failed")
      if (failed.length === 0)
        return file.status === "failed" ? [`FAILED ${file.name}\n${shortened(file.message)}`] : []
      return failed.map(
        (test) => `FAILED ${file.name} > ${test.fullName}\n${shortened((test.failureMessages ?? []).join("\n"))}`
      )
    })
  )

if (import.meta.main) {
  const files = process.argv.slice(2)
  const found = files.filter((file) => Fs.existsSync(file))
  const reports = found.map((file) => JSON.parse(Fs.readFileSync(file, "utf8")) as Report)
  const totals = totalsOf(reports)
  if (!totals.ok || found.length < files.length) process.exitCode = 1
  for (const file of files)
    if (!found.includes(file)) console.error(`test-totals: no report at "${file}": these tests did not run`)
  const failures = failuresOf(reports)
  for (const failure of failures) console.error(failure)
  if (failures.length > 0) console.error(`pace of this machine: ${process.env["SEAMS_PACE"] ?? measuredPace()}`)
  if (files.length === 0) console.error("test-totals: give the files of the reports")
  console.log(totals.line)
}

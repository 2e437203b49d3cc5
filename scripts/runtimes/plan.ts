/** What a run on other runtimes consists of, from the words of the command line. Nothing here touches the machine. */
import { type RuntimeName, runtimeNames } from "./binaries.ts"

export interface Plan {
  readonly runtimes: ReadonlyArray<RuntimeName>
  /** What vitest gets: files, and options of its own. */
  readonly vitest: ReadonlyArray<string>
  /** All runtimes at the same time: quick suites mostly wait. Each tells what it printed when it has ended. */
  readonly together: boolean
}

/** The contract suites of every room. */
export const allSuites: ReadonlyArray<string> = ["test/contract", "test/layers/sqlite/contract.test.ts"]

/** Of memory, SQLite and one server: what fits into CI. */
export const quickSuites: ReadonlyArray<string> = [
  "test/contract/kv.test.ts",
  "test/contract/kvRedis.test.ts",
  "test/contract/queue.test.ts",
  "test/contract/queueRedis.test.ts",
  "test/contract/cronKv.test.ts",
  "test/layers/sqlite/contract.test.ts"
]

const others: ReadonlyArray<RuntimeName> = runtimeNames.filter((name) => name !== "node24")
const isName = (word: string): word is RuntimeName => runtimeNames.some((name) => name === word)

/** Names of runtimes choose among them (default: all but the one of `npm test`), `--quick` is for CI, the rest is for vitest. */
export const planOf = (words: ReadonlyArray<string>): Plan => {
  const chosen = runtimeNames.filter((name) => words.includes(name))
  const quick = words.includes("--quick")
  const rest = words.filter((word) => !isName(word) && word !== "--quick" && word !== "--")
  const files = rest.some((word) => !word.startsWith("-")) ? [] : quick ? quickSuites : allSuites
  return {
    runtimes: chosen.length === 0 ? others : chosen,
    // Two files at a time on each of the three: one that waits for its server, and one that works.
    vitest: [...files, ...(quick ? ["--maxWorkers=2"] : []), ...rest],
    together: quick
  }
}

/** Where the report of a runtime goes, from the root of the project. */
export const reportOf = (name: RuntimeName): string => `.ci/report.${name}.json`

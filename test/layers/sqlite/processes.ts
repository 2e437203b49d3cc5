/** The child processes of the SQLite tests. */
import type { Effect, Scope } from "effect"
import { type Child, type ProcessOptions, type Runtime, startProcess } from "../../support/processes.ts"

export { type Child, type Runtime, runtimes, temporaryFile, temporaryFolder } from "../../support/processes.ts"

/** Starts `children/<script>.ts`. */
export const start = (
  runtime: Runtime,
  script: string,
  args: ReadonlyArray<string>,
  options?: ProcessOptions
): Effect.Effect<Child, never, Scope.Scope> =>
  startProcess(runtime, `test/layers/sqlite/children/${script}.ts`, args, options)

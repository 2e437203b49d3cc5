import { spawnSync } from "node:child_process"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

/** The folder that holds package.json, wherever the script was started from. */
export const root = Path.dirname(Path.dirname(fileURLToPath(import.meta.url)))

export interface Finished {
  readonly status: number
  readonly output: string
}

const bin = Path.join(root, "node_modules", ".bin")
const env = { ...process.env, PATH: `${bin}${Path.delimiter}${process.env["PATH"] ?? ""}` }

/** Runs a tool of this package and returns what it printed, both streams together. `more`: variables beside those of this process. */
export const capture = (
  command: string,
  args: ReadonlyArray<string>,
  cwd: string = root,
  more: NodeJS.ProcessEnv = {}
): Finished => {
  const result = spawnSync(command, [...args], {
    cwd,
    env: { ...env, ...more },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024
  })
  if (result.error !== undefined) throw result.error
  return { status: result.status ?? 1, output: `${result.stdout}${result.stderr}` }
}

/** Runs a tool with the terminal of this process and ends this process when the tool fails. */
export const run = (command: string, args: ReadonlyArray<string>): void => {
  const result = spawnSync(command, [...args], { cwd: root, env, stdio: "inherit" })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) {
    console.error(`${command} ${args.join(" ")}: exit code ${result.status ?? result.signal}`)
    process.exit(result.status ?? 1)
  }
}

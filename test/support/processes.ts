/** Real child processes of the three runtimes, for the tests that need somebody else at a store. */
import type { Scope } from "effect"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

export type Runtime = "node" | "deno" | "bun"
export const runtimes: ReadonlyArray<Runtime> = ["node", "deno", "bun"]

// Not `execPath` where a suite itself runs on another runtime than Node.
const node = process.versions["deno"] === undefined && process.versions["bun"] === undefined

// The packages' own launchers would stay between us and the process: a SIGKILL must hit the runtime itself.
const command: Readonly<Record<Runtime, readonly [string, ReadonlyArray<string>]>> = {
  // Node 22 says about its SQLite that it is an experiment.
  node: [
    node ? process.execPath : path.join(root, "node_modules/node/bin/node"),
    ["--disable-warning=ExperimentalWarning"]
  ],
  deno: [path.join(root, "node_modules/deno/deno"), ["run", "--quiet"]],
  bun: [path.join(root, "node_modules/bun/bin/bun.exe"), []]
}

export interface Child {
  readonly pid: number
  /** Everything it printed so far. */
  readonly lines: ReadonlyArray<string>
  readonly errors: () => string
  /** Completes when a line begins with the text; answers the rest of the line. Fails when the process ends before. */
  readonly line: (start: string) => Effect.Effect<string>
  /** Completes when that many lines begin with the text. */
  readonly count: (start: string, n: number) => Effect.Effect<void>
  /** Once: its input ends with it. */
  readonly send: (text: string) => Effect.Effect<void>
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Whether it has ended. */
  readonly over: () => boolean
  readonly exit: Effect.Effect<number | string>
}

export interface ProcessOptions {
  readonly uid?: number | undefined
  readonly cwd?: string | undefined
  /** Beside the variables of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly flags?: ReadonlyArray<string> | undefined
  /** Of Deno. Default: `-A`, all. */
  readonly rights?: ReadonlyArray<string> | undefined
}

/** Starts a script, named from the root of the project; the process is killed with its scope. */
export const startProcess = (
  runtime: Runtime,
  script: string,
  args: ReadonlyArray<string>,
  options?: ProcessOptions
): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const [file, flags] = command[runtime]
      const target = path.join(root, script)
      const rights = runtime === "deno" ? (options?.rights ?? ["-A"]) : []
      const child = spawn(file, [...flags, ...rights, ...(options?.flags ?? []), target, ...args], {
        cwd: options?.cwd ?? root,
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1", ...options?.env },
        ...(options?.uid === undefined ? undefined : { uid: options.uid })
      })
      const lines: Array<string> = []
      const watchers = new Set<() => void>()
      let errors = ""
      let rest = ""
      let ended: number | string | undefined
      const tell = () => watchers.forEach((watcher) => watcher())
      // Not `child.kill`: Deno's does nothing after the first signal, SIGSTOP included.
      const signal = (name: NodeJS.Signals) => {
        // After the exit the number may be somebody else's.
        if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
        try {
          process.kill(child.pid, name)
        } catch {
          // It went by itself.
        }
      }
      child.stdout.on("data", (data: Buffer) => {
        const parts = (rest + data.toString()).split("\n")
        rest = parts.pop() ?? ""
        lines.push(...parts)
        tell()
      })
      child.stderr.on("data", (data: Buffer) => (errors += data.toString()))
      child.stdin.on("error", () => undefined)
      child.on("error", (error) => {
        ended ??= String(error)
        tell()
      })
      // "close" and not "exit": all output is here by then.
      child.on("close", (code, by) => {
        ended = code ?? by ?? "gone"
        tell()
      })
      const until = <A>(look: () => A | undefined, what: string): Effect.Effect<A> =>
        Effect.callback<A>((resume) => {
          const watcher = () => {
            const found = look()
            if (found === undefined && ended === undefined) return
            watchers.delete(watcher)
            resume(
              found === undefined
                ? Effect.die(
                    new Error(`${runtime} ${script} ended (${ended}) before ${what}:\n${lines.join("\n")}\n${errors}`)
                  )
                : Effect.succeed(found)
            )
          }
          watchers.add(watcher)
          watcher()
          return Effect.sync(() => watchers.delete(watcher))
        })
      const handle: Child = {
        pid: child.pid ?? 0,
        lines,
        errors: () => errors,
        line: (begin) =>
          until(
            () =>
              lines
                .find((line) => line.startsWith(begin))
                ?.slice(begin.length)
                .trim(),
            `it said "${begin}"`
          ),
        count: (begin, n) =>
          until(
            () => (lines.filter((line) => line.startsWith(begin)).length >= n ? true : undefined),
            `${n} x "${begin}"`
          ).pipe(Effect.asVoid),
        send: (text) => Effect.sync(() => void child.stdin.end(`${text}\n`)),
        kill: (name) => Effect.sync(() => signal(name)),
        over: () => ended !== undefined,
        exit: until(() => ended, "it ended")
      }
      return handle
    }),
    (child) => Effect.andThen(child.kill("SIGKILL"), child.exit)
  )

export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "seams-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

export const temporaryFile: Effect.Effect<string, never, Scope.Scope> = Effect.map(temporaryFolder, (folder) =>
  path.join(folder, "data.sqlite")
)

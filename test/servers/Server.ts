/** The common shape of a test server, and how one is started from installed programs, watched, stopped and removed. */
import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Schedule, type Scope } from "effect"
import { formatRecord, isPortTaken, type Kind } from "./decide.ts"
import { base, descendantsOf, freePorts, identityOf, ServerError } from "./machine.ts"

/** A private server. It lives as long as the scope it was started in. */
export interface Server {
  readonly kind: Kind
  readonly url: string
  readonly port: number
  /** Where it keeps its data and its log; gone when it has stopped. A server in a container has none. */
  readonly directory: string | undefined
  /** The processes now running, the server itself last. A server in a container has none. */
  readonly pids: Effect.Effect<ReadonlyArray<number>>
  /** SIGKILL, as a crash would: returns when it is gone. Its port and its data stay for `start`. */
  readonly kill: Effect.Effect<void>
  /** Starts it again after `kill`, on the same port over the same data; returns when it answers. */
  readonly start: Effect.Effect<void, ServerError>
  /** Freezes it: connections stay open and nothing answers. */
  readonly pause: Effect.Effect<void>
  /** Lets it go on after `pause`. */
  readonly resume: Effect.Effect<void>
}

/** The folder and the ports of one server. */
export interface Place {
  readonly program: string
  readonly directory: string
  readonly port: number
  /** As many further ports as the recipe asked for. */
  readonly others: ReadonlyArray<number>
}

/** One process of a server. */
export interface Command {
  readonly file: string
  readonly args: ReadonlyArray<string>
  readonly env?: NodeJS.ProcessEnv | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** The signal on which it stops soon and in order. */
  readonly stop: NodeJS.Signals
  /** `kill` leaves it alone; it only serves the main process. */
  readonly helper?: boolean | undefined
}

/** How to run one kind of server from installed programs. */
export interface Recipe {
  readonly kind: Kind
  readonly otherPorts: number
  /** Prepares the folder, and returns the processes to start there in this order. */
  readonly prepare: (place: Place) => Effect.Effect<ReadonlyArray<Command>, ServerError>
  readonly url: (port: number) => string
  /** True when the server speaks its protocol on the port. */
  readonly probe: (port: number) => Effect.Effect<boolean>
}

export const prefix = "effect-seams-test-"

const guardianScript = fileURLToPath(new URL("./guardian.sh", import.meta.url))

const exitOf = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
  })

/** Keeps a folder and stops what is running in it when the scope closes, or when this process dies in any way. */
export interface Guardian {
  readonly directory: string
  readonly tell: (line: string) => void
}

/** Makes the folder of a server and the guardian that will remove it. */
export const guard = (kind: Kind): Effect.Effect<Guardian, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const directory = Fs.mkdtempSync(Path.join(base, `${prefix}${kind}-`))
        // The server may run as another user, who must be able to pass through.
        Fs.chmodSync(directory, 0o711)
        const owner = { pid: process.pid, identity: identityOf(process.pid) ?? "unknown" }
        Fs.writeFileSync(Path.join(directory, "owner"), formatRecord(owner))
        // A session of its own: Ctrl-C reaches the whole group of the terminal, and must not reach this one.
        const child = spawn("/bin/sh", [guardianScript, directory], {
          detached: true,
          stdio: ["pipe", "ignore", "ignore"]
        })
        child.stdin.on("error", () => undefined)
        return { child, directory }
      }),
      ({ child }) =>
        Effect.andThen(
          Effect.sync(() => child.stdin.end()),
          exitOf(child)
        )
    ),
    ({ child, directory }) => ({ directory, tell: (line) => void child.stdin.write(`${line}\n`) })
  )

const logOf = (directory: string): string => {
  const file = Path.join(directory, "log")
  return Fs.existsSync(file) ? Fs.readFileSync(file, "utf8") : ""
}

/** How long a server may take to answer; RabbitMQ on a busy machine with two cores needs the most. */
const patience = "90 seconds"

const untilReady = (
  { kind, probe }: Pick<Recipe, "kind" | "probe">,
  port: number,
  died: Effect.Effect<string>,
  log: Effect.Effect<string>
): Effect.Effect<void, ServerError> =>
  probe(port).pipe(
    Effect.repeat({ until: (ready) => ready, schedule: Schedule.spaced("50 millis") }),
    Effect.asVoid,
    Effect.raceFirst(Effect.flatMap(died, (message) => Effect.fail(new ServerError({ kind, message })))),
    Effect.timeoutOrElse({
      duration: patience,
      orElse: () =>
        Effect.flatMap(log, (text) =>
          Effect.fail(
            new ServerError({ kind, message: `${kind} did not answer on port ${port} in ${patience}\n${text}` })
          )
        )
    })
  )

const signalQuietly = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal)
  } catch {
    // It went by itself.
  }
}

const startOnce = Effect.fnUntraced(function* (
  recipe: Recipe,
  program: string
): Effect.fn.Return<Server, ServerError, Scope.Scope> {
  const { kind } = recipe
  const [port = 0, ...others] = yield* freePorts(1 + recipe.otherPorts)
  const guardian = yield* guard(kind)
  const { directory } = guardian
  const commands = yield* recipe.prepare({ program, directory, port, others })
  const running = new Map<Command, ChildProcess>()

  const launch = (command: Command): void => {
    const log = Fs.openSync(Path.join(directory, "log"), "a")
    const child = spawn(command.file, command.args, {
      cwd: directory,
      env: command.env ?? process.env,
      detached: true,
      stdio: ["ignore", log, log],
      ...(command.uid === undefined ? {} : { uid: command.uid }),
      ...(command.gid === undefined ? {} : { gid: command.gid })
    })
    Fs.closeSync(log)
    const { pid } = child
    child.once("error", (error) => Fs.appendFileSync(Path.join(directory, "log"), `${error.message}\n`))
    if (pid === undefined) return
    guardian.tell(`watch ${pid} ${command.stop.replace("SIG", "")}`)
    Fs.appendFileSync(
      Path.join(directory, "processes"),
      `${formatRecord({ pid, identity: identityOf(pid) ?? "unknown" })}\n`
    )
    running.set(command, child)
    child.once("exit", () => {
      guardian.tell(`forget ${pid}`)
      if (running.get(command) === child) running.delete(command)
    })
  }

  const log = Effect.sync(() => logOf(directory).split("\n").slice(-40).join("\n"))
  const start = Effect.gen(function* () {
    for (const command of commands) if (!running.has(command)) launch(command)
    const died = Effect.raceAll(
      commands.map((command) => {
        const child = running.get(command)
        return Effect.flatMap(child === undefined ? Effect.void : exitOf(child), () =>
          Effect.map(log, (text) => `${kind} ended before it answered: ${command.file}\n${text}`)
        )
      })
    )
    yield* untilReady(recipe, port, died, log)
  })

  const signal = (name: NodeJS.Signals): Effect.Effect<ReadonlyArray<ChildProcess>> =>
    Effect.sync(() => {
      const children = [...running].flatMap(([command, child]) => (command.helper ? [] : [child]))
      for (const child of children) child.kill(name)
      return children
    })

  const familyOf = (children: Iterable<ChildProcess>): ReadonlyArray<number> =>
    [...children].flatMap(({ pid }) => (pid === undefined ? [] : descendantsOf(pid)))

  // PostgreSQL has a process for each connection.
  const signalAll = (name: NodeJS.Signals): Effect.Effect<void> =>
    Effect.map(signal(name), (children) => {
      for (const pid of familyOf(children)) signalQuietly(pid, name)
    })

  // With all its children, which would otherwise hold on to the data for a moment and refuse the next start.
  const kill = Effect.gen(function* () {
    const family = familyOf(running.values())
    const children = yield* signal("SIGKILL")
    for (const pid of family) signalQuietly(pid, "SIGKILL")
    yield* Effect.forEach(children, exitOf, { discard: true })
    yield* Effect.sync(() => family.some((pid) => identityOf(pid) !== undefined)).pipe(
      Effect.repeat({ until: (alive) => !alive, schedule: Schedule.spaced("10 millis") }),
      Effect.timeoutOption("10 seconds")
    )
  })

  yield* start
  return {
    kind,
    url: recipe.url(port),
    port,
    directory,
    pids: Effect.sync(() => [...running.values()].flatMap(({ pid }) => (pid === undefined ? [] : [pid]))),
    kill,
    start,
    pause: signalAll("SIGSTOP"),
    resume: signalAll("SIGCONT")
  }
})

/** Starts a server from an installed program. A port that was taken meanwhile costs another try, not the test. */
export const startProgram = (recipe: Recipe, program: string): Effect.Effect<Server, ServerError, Scope.Scope> =>
  startOnce(recipe, program).pipe(Effect.retry({ times: 2, while: ({ message }) => isPortTaken(message) }))

/** The questions to the machine that the decisions need: programs, users, free ports, processes, protocol answers. */
import { execFile, execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { Data, Effect, Random } from "effect"
import { type Facts, type Kind, newestFirst, startTimeOf, variableOf } from "./decide.ts"

export class ServerError extends Data.TaggedError("ServerError")<{ readonly kind: Kind; readonly message: string }> {}

export const isRoot = process.getuid?.() === 0

/** Where the folders of servers live. The postgres user must reach them, so root does not use a TMPDIR of its own. */
export const base = isRoot ? "/tmp" : Os.tmpdir()

export const composeFile = fileURLToPath(new URL("../../compose.yaml", import.meta.url))

export interface Ran {
  readonly ok: boolean
  readonly output: string
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv | undefined
  readonly cwd?: string | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
}

/** Runs a command to its end and collects what it printed; never fails. */
export const run = (file: string, args: ReadonlyArray<string>, options?: RunOptions): Effect.Effect<Ran> =>
  Effect.callback((resume) => {
    const child = spawn(file, args, {
      env: { ...process.env, ...options?.env },
      stdio: ["ignore", "pipe", "pipe"],
      ...(options?.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options?.uid === undefined ? {} : { uid: options.uid }),
      ...(options?.gid === undefined ? {} : { gid: options.gid })
    })
    let output = ""
    const collect = (chunk: Buffer): void => void (output += chunk.toString())
    child.stdout.on("data", collect)
    child.stderr.on("data", collect)
    child.on("error", (error) => resume(Effect.succeed({ ok: false, output: error.message })))
    child.on("close", (code) => resume(Effect.succeed({ ok: code === 0, output })))
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

const executable = (file: string): boolean => {
  try {
    Fs.accessSync(file, Fs.constants.X_OK)
    return Fs.statSync(file).isFile()
  } catch {
    return false
  }
}

/** Finds a program in PATH and in the folders that a plain user's PATH may lack. */
export const which = (name: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(Path.delimiter), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    .filter((folder) => folder !== "")
    .map((folder) => Path.join(folder, name))
    .find(executable)

const list = (folder: string): ReadonlyArray<string> => (Fs.existsSync(folder) ? Fs.readdirSync(folder) : [])

const debianPostgres = "/usr/lib/postgresql"
// Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on the rabbitmq user; this is the program behind it.
const debianRabbitmq = "/usr/lib/rabbitmq/bin/rabbitmq-server"

const locators: Readonly<Record<Kind, () => string | undefined>> = {
  redis: () => which("redis-server") ?? which("valkey-server"),
  // The program is initdb, which stands beside the right postgres.
  postgres: () => {
    const onPath = which("postgres")
    return [
      ...newestFirst(list(debianPostgres)).map((version) => Path.join(debianPostgres, version, "bin")),
      ...(onPath === undefined ? [] : [Path.dirname(Fs.realpathSync(onPath))])
    ]
      .map((folder) => Path.join(folder, "initdb"))
      .find((file) => executable(file) && executable(Path.join(Path.dirname(file), "postgres")))
  },
  rabbitmq: () => {
    const server = executable(debianRabbitmq) ? debianRabbitmq : which("rabbitmq-server")
    return which("epmd") === undefined ? undefined : server
  }
}

/** The program that starts a server of this kind, if it is installed. */
export const locate = (kind: Kind): Effect.Effect<string | undefined> => Effect.sync(() => locators[kind]())

const dockerAnswers = Effect.gen(function* () {
  if (which("docker") === undefined) return false
  const compose = yield* run("docker", ["compose", "version"])
  const daemon = yield* run("docker", ["info", "--format", "{{.ServerVersion}}"])
  return compose.ok && daemon.ok
})

export const factsOf = Effect.fnUntraced(function* (kind: Kind): Effect.fn.Return<Facts> {
  const program = yield* locate(kind)
  const apt = which("apt-get") !== undefined
  const given = process.env[variableOf(kind)]
  return {
    given,
    program,
    root: isRoot,
    apt,
    // Asking the daemon takes a while, so only when nothing before it in the order would do.
    docker: given === undefined && program === undefined && !(isRoot && apt) ? yield* dockerAnswers : false
  }
})

export interface User {
  readonly uid: number
  readonly gid: number
}

/** The ids of a system user, or undefined when there is none. */
export const userOf = (name: string): Effect.Effect<User | undefined> =>
  Effect.callback((resume) => {
    execFile("id", ["-u", name], (noUser, uid) =>
      execFile("id", ["-g", name], (noGroup, gid) =>
        resume(Effect.succeed(noUser || noGroup ? undefined : { uid: Number(uid), gid: Number(gid) }))
      )
    )
  })

const listenOn = (port: number): Effect.Effect<Net.Server, Error> =>
  Effect.callback((resume) => {
    const server = Net.createServer()
    server.once("error", (error) => resume(Effect.fail(error)))
    server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
  })

/**
 * Ports of servers lie below those that systems give to outgoing connections (Linux from 32768, others from 49152). Such
 * a connection could take the port of a server that is down for a moment, and a probe could even meet itself there.
 */
export const portRange = { from: 15_000, to: 32_000 }

/** Ports that nothing listens on now; they are held together until all are found, so no two are the same. */
export const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>> =>
  Effect.scoped(
    Effect.forEach(Array.from({ length: count }), () =>
      Effect.acquireRelease(
        Effect.flatMap(Random.nextIntBetween(portRange.from, portRange.to), (port) =>
          Effect.map(listenOn(port), (server) => ({ port, server }))
        ).pipe(Effect.eventually),
        ({ server }) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      ).pipe(Effect.map(({ port }) => port))
    )
  )

/** True while something accepts connections on the port. */
export const accepts = (port: number): Effect.Effect<boolean> => converse(port, new Uint8Array(), undefined)

/**
 * Connects, says `hello` and reads until `complete` is true for what came back; false when the connection fails, ends
 * first, or stays silent for two seconds. Without `complete` the connection itself is the answer. `connect` is another way
 * to connect, with TLS.
 */
export const converse = (
  port: number,
  hello: Uint8Array,
  complete: ((reply: Buffer) => boolean) | undefined,
  connect: (to: Net.NetConnectOpts) => Net.Socket = Net.connect
): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = connect({ host: "127.0.0.1", port, timeout: 2000 })
    let reply = Buffer.alloc(0)
    const end = (answer: boolean): void => {
      socket.destroy()
      resume(Effect.succeed(answer))
    }
    socket.on("connect", () => (complete === undefined ? end(true) : socket.write(hello)))
    socket.on("data", (chunk) => {
      reply = Buffer.concat([reply, chunk])
      if (complete?.(reply)) end(true)
    })
    socket.on("timeout", () => end(false))
    socket.on("error", () => end(false))
    socket.on("close", () => end(false))
    return Effect.sync(() => void socket.destroy())
  })

/** What tells a process from a later one with the same pid, or undefined when there is none. */
export const identityOf = (pid: number): string | undefined => {
  try {
    if (process.platform === "linux") return startTimeOf(Fs.readFileSync(`/proc/${pid}/stat`, "utf8"))
    const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8", stdio: "pipe" }).trim()
    return started === "" ? undefined : started
  } catch {
    return undefined
  }
}

/**
 * The children of a process, their children, and so on. PostgreSQL gives each of its own a session, so the process group does
 * not have them.
 */
export const descendantsOf = (pid: number): ReadonlyArray<number> => {
  const parents = parentsOfAll()
  const found = [pid]
  // Grows while it is walked.
  for (const parent of found) for (const [child = 0, of] of parents) if (of === parent) found.push(child)
  return found.slice(1)
}

/** Pairs of process and parent. */
const parentsOfAll = (): ReadonlyArray<ReadonlyArray<number>> => {
  if (process.platform !== "linux")
    return execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/\s+/).map(Number))
  return Fs.readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return []
    try {
      // After the name, which may hold anything, come the state and the parent.
      const stat = Fs.readFileSync(`/proc/${entry}/stat`, "utf8")
      return [[Number(entry), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1])]]
    } catch {
      return []
    }
  })
}

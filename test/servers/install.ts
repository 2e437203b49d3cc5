/** Installs missing servers with apt. Run by itself (`node test/servers/install.ts`) it makes all of them available. */
import * as Fs from "node:fs"
import { Effect, Semaphore } from "effect"
import { decide, type Decision, type Facts, type Kind, kinds } from "./decide.ts"
import { factsOf, isRoot, locate, run, ServerError, which } from "./machine.ts"

const policy = "/usr/sbin/policy-rc.d"

/** Debian starts a service as soon as it is installed, unless this file says no. One that is there already stays. */
const withoutStartingServices = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      if (Fs.existsSync(policy)) return false
      Fs.writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 })
      return true
    }),
    () => effect,
    (ours) => Effect.sync(() => (ours ? Fs.rmSync(policy, { force: true }) : undefined))
  )

const aptGet = Effect.fnUntraced(function* (kind: Kind, args: ReadonlyArray<string>) {
  const env = { DEBIAN_FRONTEND: "noninteractive" }
  const { ok, output } = yield* run("apt-get", ["-o", "DPkg::Lock::Timeout=300", ...args], { env })
  if (ok) return
  const tail = output.trim().split("\n").slice(-15).join("\n")
  return yield* new ServerError({ kind, message: `apt-get ${args.join(" ")} failed\n${tail}` })
})

// apt takes one at a time, and one update serves them all.
const turn = Semaphore.makeUnsafe(1)
const update = Effect.runSync(Effect.cached(aptGet("redis", ["update"])))

const install = (kind: Kind, packages: ReadonlyArray<string>): Effect.Effect<void, ServerError> =>
  turn.withPermit(
    Effect.andThen(
      update,
      withoutStartingServices(aptGet(kind, ["install", "--yes", "--no-install-recommends", ...packages]))
    )
  )

/** A decision that no longer asks for an installation. */
export type Ready = Exclude<Decision, { readonly _tag: "Install" | "Refuse" }>

/** Decides where a server comes from, and installs it first if that is the decision. `changes` are to what is found. */
export const obtain = Effect.fnUntraced(function* (
  kind: Kind,
  changes?: Partial<Facts>
): Effect.fn.Return<Ready, ServerError> {
  const decision = decide(kind, { ...(yield* factsOf(kind)), ...changes })
  if (decision._tag === "Refuse") return yield* new ServerError({ kind, message: decision.message })
  if (decision._tag !== "Install") return decision
  yield* Effect.logInfo(`installing ${decision.packages.join(" ")} with apt`)
  yield* install(kind, decision.packages)
  const program = yield* locate(kind)
  if (program !== undefined) return { _tag: "Start", program }
  const message = `apt installed ${decision.packages.join(" ")}, and still there is no program that starts ${kind}`
  return yield* new ServerError({ kind, message })
})

/** A program beside a server, installed first where that is possible; `undefined` where it is not. */
export const obtainTool = Effect.fnUntraced(function* (
  kind: Kind,
  name: string,
  pkg: string
): Effect.fn.Return<string | undefined, ServerError> {
  if (which(name) === undefined && isRoot && which("apt-get") !== undefined) {
    yield* Effect.logInfo(`installing ${pkg} with apt`)
    yield* install(kind, [pkg])
  }
  return which(name)
})

if (import.meta.main) {
  const all = Effect.andThen(
    Effect.forEach(kinds, (kind) => obtain(kind), { discard: true }),
    obtainTool("postgres", "pgbouncer", "pgbouncer")
  )
  await Effect.runPromise(all).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exit(1)
  })
}

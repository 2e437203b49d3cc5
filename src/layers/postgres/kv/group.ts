/**
 * Group commit: commits that come while others are under way go to the server together, as one statement and one transaction, each of which
 * applies or not by itself. A commit that would have to wait there for somebody leaves the group and runs alone.
 *
 * Commits of this process that name the same key never wait for each other in the server: they go one after the other in one group, or
 * stay here until the one before them is done. So a key that somebody else keeps locked takes one connection of the pool, however
 * many want it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Packed } from "../../../internal/keyCodec.ts"
import type { Commit } from "../../../kv/driver.ts"
import { PostgresFault } from "../faults.ts"
import type { Plan } from "./plan.ts"

/** Calls that one client has under way: more gain nothing, and each takes a connection. */
const mostCalls = 3
const mostMembers = 64
const mostBytes = 262_144
/** Beyond these a commit is no member of a group. */
const mostKeys = 64
/** Milliseconds after which a call that runs alone is taken to wait for a lock, and between two looks of a commit that must not. */
const patience = 10

export interface Request {
  readonly commit: Commit
  readonly plan: Plan
}

/** What a member of a group learns; `wait`: it would have to. */
export type Grouped<A> =
  | { readonly _tag: "done"; readonly exit: Exit.Exit<A, PostgresFault> }
  | { readonly _tag: "wait" }

interface Member<A> extends Request {
  readonly resume: (exit: Exit.Exit<A, PostgresFault>) => void
  readonly begun: number
  /** It was in a group and would have had to wait. */
  waits: boolean
  notBefore: number
}

interface Call<A> {
  readonly members: ReadonlyArray<Member<A>>
  readonly begun: number
  stuck: boolean
}

export interface Runs<A> {
  readonly alone: (request: Request) => Effect.Effect<A, PostgresFault>
  /** One answer for each member, in order. */
  readonly together: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<Grouped<A>>, PostgresFault>
}

const late = new PostgresFault("unsent", "other commits of its keys were under way all the time")

/** `connections`: of the pool, all in all. `limit`: how long a commit may stay here, in milliseconds. */
export const makeGroups = <A>(
  { alone, together }: Runs<A>,
  connections: number,
  limit: number,
  clock: Clock.Clock
): Effect.Effect<(request: Request) => Effect.Effect<A, PostgresFault>> =>
  Effect.map(Effect.context(), (context) => {
    const fork = Effect.runForkWith(context)
    /** Calls that may wait for somebody else's locks, beside the others: most connections are left for those. */
    const mostStuck = Math.floor((connections - 2) / 4)
    let waiting: Array<Member<A>> = []
    const running = new Set<Call<A>>()
    /** Keys of commits that are under way. */
    const held = new Set<Packed>()
    let scheduled = false
    let timing = false

    const run = (members: ReadonlyArray<Member<A>>, single: boolean, stuck: boolean): void => {
      const call: Call<A> = { members, begun: clock.currentTimeMillisUnsafe(), stuck }
      running.add(call)
      for (const { plan } of members) for (const key of plan.keys) held.add(key)
      const settled: Effect.Effect<void> = single
        ? Effect.map(Effect.exit(alone(members[0]!)), (exit) => members[0]!.resume(exit))
        : Effect.map(Effect.exit(together(members)), (exit) => settle(members, exit))
      fork(
        Effect.map(settled, () => {
          running.delete(call)
          for (const { plan } of members) for (const key of plan.keys) held.delete(key)
          schedule()
        })
      )
    }

    const settle = (
      members: ReadonlyArray<Member<A>>,
      exit: Exit.Exit<ReadonlyArray<Grouped<A>>, PostgresFault>
    ): void => {
      const again: Array<Member<A>> = []
      for (const [i, member] of members.entries()) {
        const one: Grouped<A> = Exit.isSuccess(exit)
          ? exit.value[i]!
          : // Refused as a whole, for one of them or for a key that somebody is making: each finds out by itself.
            refused(exit)
            ? { _tag: "wait" }
            : { _tag: "done", exit: Exit.failCause(exit.cause) }
        if (one._tag === "done") member.resume(one.exit)
        else {
          member.waits = true
          again.push(member)
        }
      }
      // They were first.
      waiting = [...again, ...waiting]
    }

    const schedule = (): void => {
      if (scheduled || waiting.length === 0) return
      scheduled = true
      queueMicrotask(flush)
    }

    const flush = (): void => {
      scheduled = false
      const at = clock.currentTimeMillisUnsafe()
      let stuck = 0
      for (const call of running) {
        if (call.members.length === 1 && at - call.begun >= patience) call.stuck = true
        if (call.stuck) stuck++
      }
      const blocked = new Set<Packed>()
      const left: Array<Member<A>> = []
      let group: Array<Member<A>> = []
      let bytes = 0
      const calls = () => running.size - stuck
      const send = () => {
        // Alone it may wait for a lock, which takes a connection for as long.
        run(group, group.length === 1 && stuck < mostStuck, false)
        group = []
        bytes = 0
      }
      for (const member of waiting) {
        const { keys } = member.plan
        if (at - member.begun >= limit) {
          member.resume(Exit.fail(late))
          continue
        }
        // In order along each key.
        const free =
          calls() < mostCalls && member.notBefore <= at && keys.every((key) => !held.has(key) && !blocked.has(key))
        if (free && member.waits && stuck < mostStuck) {
          stuck++
          run([member], true, true)
        } else if (free) {
          if (member.waits) member.notBefore = at + patience
          group.push(member)
          bytes += member.commit.size
          if (group.length >= mostMembers || bytes >= mostBytes) send()
        } else {
          for (const key of keys) blocked.add(key)
          left.push(member)
        }
      }
      waiting = left
      if (group.length > 0) send()
      if (waiting.length > 0) lookAgain()
    }

    /** For what no call's end tells: one has begun to wait, somebody's time is over. */
    const lookAgain = (): void => {
      if (timing) return
      timing = true
      fork(
        Effect.provideService(
          Effect.map(Effect.sleep(patience), () => {
            timing = false
            flush()
          }),
          Clock.Clock,
          clock
        )
      )
    }

    return (request) =>
      request.plan.keys.length > mostKeys || request.commit.size > mostBytes
        ? alone(request)
        : Effect.callback((resume) => {
            waiting.push({ ...request, resume, begun: clock.currentTimeMillisUnsafe(), waits: false, notBefore: 0 })
            schedule()
          })
  })

const refused = (exit: Exit.Failure<unknown, PostgresFault>): boolean =>
  exit.cause.reasons.some(
    (reason) => reason._tag === "Fail" && reason.error.kind === "refused" && !reason.error.lasting
  )

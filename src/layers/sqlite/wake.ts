/**
 * Who waits for a change, and how a change of another process is noticed.
 *
 * Changes of this connection wake their waiters at once. Another process is noticed by `PRAGMA data_version`, which a poller
 * reads when the operating system reports that the `-wal` file was touched, and every 50 to 250 ms besides, because such
 * reports may be late or missing. Under Deno there is only the poll (see `watcherEndsLocks`). The poller runs only while somebody waits.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import { steady } from "./steady.ts"

const quickPoll = 50
const slowPoll = 250

interface Waiter {
  readonly topic: number
  readonly resume: () => void
}

export interface Wake {
  /**
   * A number that is different after every change of a topic. Read it before you look at the tables; then `wait` misses nothing
   * that happened since you looked.
   */
  readonly version: (topic: number) => number
  /** Completes when the topic's version is no longer the given one. May complete for nothing. */
  readonly wait: (topic: number, version: number) => Effect.Effect<void>
  /** A commit of this connection. */
  readonly changed: (topics: ReadonlySet<number>) => void
  /** All who wait look again, once the database is closed: their reads then fail, and nothing else would wake them. */
  readonly closed: () => void
}

export interface WakeOptions {
  /** The absolute path; `undefined`: a database in memory, which nobody else can change. */
  readonly file: string | undefined
  readonly dataVersion: () => number
  readonly realClock: Clock.Clock
}

export const makeWake = (options: WakeOptions): Effect.Effect<Wake, never, Scope.Scope> =>
  Effect.gen(function* () {
    const versions = new Map<number, number>()
    const waiters = new Set<Waiter>()
    const { dataVersion, file } = options
    let foreign = 0
    let seen = file === undefined ? 0 : dataVersion()

    const version = (topic: number) => {
      if (file !== undefined) attemptLook(look)
      return (versions.get(topic) ?? 0) + foreign
    }
    const resume = (concerned: (waiter: Waiter) => boolean) => {
      // A copy: who is resumed may wait again at once, and a set would go on to that one.
      for (const waiter of Array.from(waiters)) {
        if (!concerned(waiter) || !waiters.delete(waiter)) continue
        waiter.resume()
      }
    }
    const changed = (topics: ReadonlySet<number>) => {
      if (topics.size === 0) return
      for (const topic of topics) versions.set(topic, (versions.get(topic) ?? 0) + 1)
      if (waiters.size > 0) resume((waiter) => topics.has(waiter.topic))
    }
    /** Did another connection commit since the last look? */
    const look = (): boolean => {
      const now = dataVersion()
      if (now === seen) return false
      seen = now
      foreign++
      if (waiters.size > 0) resume(() => true)
      return true
    }

    const closed = () => {
      foreign++
      resume(() => true)
    }

    const wanted = yield* Latch.make(false)
    const hint = yield* Latch.make(false)
    if (file !== undefined)
      yield* Effect.forkScoped(
        steady("poll", poll(file, { wanted, hint, waiters, look, realClock: options.realClock }))
      )

    const wait = (topic: number, since: number): Effect.Effect<void> =>
      Effect.callback<void>((resumeFiber) => {
        if (version(topic) !== since) {
          resumeFiber(Exit.void)
          return
        }
        const waiter: Waiter = { topic, resume: () => resumeFiber(Exit.void) }
        waiters.add(waiter)
        if (file !== undefined) wanted.openUnsafe()
        return Effect.sync(() => {
          waiters.delete(waiter)
          // Nobody left: the poller's timer must not outlive the last waiter.
          if (waiters.size === 0) hint.openUnsafe()
        })
      })
    return { version, wait, changed, closed }
  })

const poll = (
  file: string,
  state: {
    readonly wanted: Latch.Latch
    readonly hint: Latch.Latch
    readonly waiters: ReadonlySet<Waiter>
    readonly look: () => boolean
    readonly realClock: Clock.Clock
  }
): Effect.Effect<never, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { hint, look, wanted, waiters } = state
    let watcher: FileWatcher | undefined
    yield* Effect.addFinalizer(() => Effect.sync(() => watcher?.close()))
    let interval = quickPoll
    while (true) {
      yield* wanted.await
      watcher ??= watchFile(file, () => hint.openUnsafe())
      while (waiters.size > 0) {
        hint.closeUnsafe()
        interval = attemptLook(look) ? quickPoll : Math.min(interval * 1.5, watcher.active() ? slowPoll : quickPoll)
        if (waiters.size > 0) yield* Effect.timeoutOption(hint.await, interval)
      }
      wanted.closeUnsafe()
    }
  }).pipe(Effect.provideService(Clock.Clock, state.realClock))

/** A failing look (a busy file, a full disk) is the business of the reads that follow; the poller goes on. */
const attemptLook = (look: () => boolean): boolean => {
  try {
    return look()
  } catch {
    return false
  }
}

interface FileWatcher {
  readonly active: () => boolean
  readonly close: () => void
}

/**
 * Deno's watcher opens and closes each file that an event names. A close ends every POSIX lock that the process has on that file, those of
 * SQLite too: others may then write at the same time, or remove the log that is in use. So there the poll does all the work.
 */
const watcherEndsLocks = process.versions["deno"] !== undefined

/** Watches the folder, since the `-wal` file comes and goes. Without support for it the poll stays quick. */
const watchFile = (file: string, touched: () => void): FileWatcher => {
  if (watcherEndsLocks) return { active: () => false, close: () => undefined }
  const wal = `${path.basename(file)}-wal`
  let watcher: fs.FSWatcher | undefined
  const close = () => {
    watcher?.close()
    watcher = undefined
  }
  try {
    watcher = fs.watch(path.dirname(file), { persistent: false }, (_event, name) => {
      if (name === null || name === wal) touched()
    })
    watcher.on("error", close)
  } catch {
    watcher = undefined
  }
  return { active: () => watcher !== undefined, close }
}

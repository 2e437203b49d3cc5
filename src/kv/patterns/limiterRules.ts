/**
 * When a limiter grants what: pure functions of what was granted before. A grant is dated by the store's clock, never before an
 * earlier one, so a clock that goes back grants nothing until it has caught up. A request that waits is dated in the future.
 */

/** The rule of one limiter, over its own kind of state. */
export interface Rule<State> {
  readonly empty: State
  /** `undefined`: it is no state of this rule. */
  readonly decode: (value: unknown) => State | undefined
  readonly encode: (state: State) => unknown
  /** The earliest time from `now` on at which this much can be granted. */
  readonly next: (state: State, cost: number, now: number) => number
  /** Grants it for that time. */
  readonly grant: (state: State, cost: number, at: number, now: number) => State
  /** The store's time at the last decision: who reads a time before it has read it too early, or the clock was set back. */
  readonly decided: (state: State) => number
  /** Takes a grant back that nobody used, as far as no later one rests on it. */
  readonly giveBack: (state: State, cost: number, at: number) => State
  /** How much can be granted at once. */
  readonly available: (state: State, now: number) => number
  /** Milliseconds from `now` after which the state says nothing any more. */
  readonly lasts: (state: State, now: number) => number
}

/** Grants of one millisecond: when, and how many. */
type Run = readonly [at: number, n: number]

export interface Sliding {
  /** In the order of time. */
  readonly runs: ReadonlyArray<Run>
  /** Grants that are not remembered any more bear on nothing from here on. */
  readonly floor: number
  readonly decided: number
}

const isNumber = (u: unknown): u is number => typeof u === "number" && Number.isFinite(u)

/**
 * At most `limit` in any window, its start included and its end excluded. Every grant that can still matter is remembered: at most
 * `limit` of them, for of more the last `limit` decide.
 */
export const slidingWindow = (limit: number, window: number): Rule<Sliding> => {
  /** Nothing is granted before it. */
  const from = ({ floor, runs }: Sliding, now: number) => Math.max(now, floor, runs.at(-1)?.[0] ?? floor)
  const forget = (runs: Array<Run>, { decided, floor }: Sliding, now: number): Sliding => {
    let total = runs.reduce((sum, [, n]) => sum + n, 0)
    let dropped = 0
    for (const [at, n] of runs) {
      if (at + window > now && total - n < limit) break
      total -= n
      dropped++
      floor = Math.max(floor, at + window)
    }
    return { runs: runs.slice(dropped), floor, decided: Math.max(decided, now) }
  }
  return {
    empty: { runs: [], floor: 0, decided: 0 },
    decode: (value) => {
      const { d, f, r, t } = (value ?? {}) as Readonly<Record<string, unknown>>
      if (!isNumber(d) || !isNumber(f) || !isNumber(t) || !Array.isArray(r) || !r.every(isNumber)) return undefined
      const runs: Array<Run> = []
      let at = t
      for (let i = 0; i + 1 < r.length; i += 2) {
        at += r[i]!
        runs.push([at, r[i + 1]!])
      }
      return { runs, floor: f, decided: d }
    },
    encode: ({ decided, floor, runs }) => {
      const first = runs[0]?.[0] ?? 0
      let before = first
      const r: Array<number> = []
      for (const [at, n] of runs) {
        r.push(at - before, n)
        before = at
      }
      return { d: decided, f: floor, t: first, r }
    },
    next: (state, cost, now) => {
      const earliest = from(state, now)
      let recent = 0
      for (let i = state.runs.length - 1; i >= 0; i--) {
        const [at, n] = state.runs[i]!
        recent += n
        // This one, and with it all before it, must have left the window.
        if (recent > limit - cost) return Math.max(earliest, at + window)
      }
      return earliest
    },
    decided: ({ decided }) => decided,
    grant: (state, cost, at, now) => {
      const { runs } = state
      const last = runs.at(-1)
      const next: Array<Run> = last?.[0] === at ? [...runs.slice(0, -1), [at, last[1] + cost]] : [...runs, [at, cost]]
      return forget(next, state, now)
    },
    giveBack: ({ runs, ...rest }, cost, at) => ({
      ...rest,
      runs: runs.flatMap((run): ReadonlyArray<Run> => {
        if (run[0] !== at || run[1] < cost) return [run]
        return run[1] === cost ? [] : [[at, run[1] - cost]]
      })
    }),
    available: (state, now) => {
      if (from(state, now) > now) return 0
      const recent = state.runs.reduce((sum, [at, n]) => (at + window > now ? sum + n : sum), 0)
      return Math.max(0, limit - recent)
    },
    lasts: ({ floor, runs }, now) => Math.max(floor, (runs.at(-1)?.[0] ?? floor - window) + window) - now
  }
}

/**
 * How full the bucket of what was taken is, at a time. In units of which a token has `window` and a millisecond takes `limit` away, so
 * that all of it is whole numbers.
 */
export interface Bucket {
  readonly at: number
  readonly level: number
}

/** `limit` tokens come back per window, and at most `burst` are there. */
export const tokenBucket = (limit: number, window: number, burst: number): Rule<Bucket> => {
  const levelAt = ({ at, level }: Bucket, time: number) => Math.max(0, level - (time - at) * limit)
  const room = burst * window
  return {
    empty: { at: 0, level: 0 },
    decode: (value) => {
      const { at, level } = (value ?? {}) as { readonly at?: unknown; readonly level?: unknown }
      return isNumber(at) && isNumber(level) ? { at, level } : undefined
    },
    encode: (state) => state,
    next: (state, cost, now) => {
      const time = Math.max(now, state.at)
      return time + Math.max(0, Math.ceil((levelAt(state, time) + cost * window - room) / limit))
    },
    grant: (state, cost, _at, now) => {
      const time = Math.max(now, state.at)
      return { at: time, level: levelAt(state, time) + cost * window }
    },
    // A later turn was reckoned from this one: the level says the date of the last only.
    giveBack: (state, cost, at) =>
      at === state.at + Math.ceil((state.level - room) / limit)
        ? { at: state.at, level: Math.max(0, state.level - cost * window) }
        : state,
    decided: ({ at }) => at,
    available: (state, now) => (now < state.at ? 0 : Math.max(0, Math.floor((room - levelAt(state, now)) / window))),
    lasts: ({ at, level }, now) => at + level / limit - now
  }
}

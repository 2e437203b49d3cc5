import { DateTime, Option, Result } from "effect"
import * as Cron from "../../src/Cron.ts"
import { Clock, daysToWalk, due, type Pattern, pattern, possible, wallAt } from "./oracle.ts"

/*
 * Random expressions in all zones around their real clock changes, the engine against the oracle. A round is one window of
 * one zone, and draws from its own generator, so that a failure is found again by its seed and round alone.
 */

const HOUR = 3_600_000
const DAY = 24 * HOUR
const FIRST = Date.UTC(1970, 0, 1)
const LAST = Date.UTC(2099, 11, 30)
const CASES_PER_ROUND = 24
/** Milliseconds for one answer of the engine; it needs far less than one, and a busy machine should not matter. */
const PATIENCE = 3000

/** Zones that do something unusual; every second round is one of them. */
const peculiar = [
  ["America/New_York", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Australia/Sydney", "Australia/Lord_Howe"],
  [
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/St_Johns",
    "America/Asuncion",
    "America/Caracas"
  ],
  [
    "America/Nuuk",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Monrovia",
    "Asia/Amman",
    "Asia/Gaza"
  ],
  ["Asia/Beirut", "Asia/Tehran", "Asia/Pyongyang", "Pacific/Apia", "Pacific/Chatham", "Pacific/Kwajalein"],
  ["Pacific/Kiritimati", "Antarctica/Troll", "Antarctica/Casey", "Antarctica/Vostok", "UTC", "+05:30"]
].flat()

export interface Random {
  /** A whole number from `low` to `high`, both included. */
  readonly int: (low: number, high: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(choices: readonly [A, ...Array<A>] | ReadonlyArray<A>) => A
}

// mulberry32
export const makeRandom = (seed: number): Random => {
  let state = seed >>> 0
  const unit = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  const int = (low: number, high: number) => low + Math.floor(unit() * (high - low + 1))
  return { int, chance: (probability) => unit() < probability, pick: (choices) => choices[int(0, choices.length - 1)]! }
}

const offsetAt = (zone: string, instant: number) => wallAt(zone, instant / 1000) * 1000 - instant

/** The instants at which the offset of a zone changes. Two changes within five days that undo each other are not seen. */
export const transitionsOf = (zone: string): ReadonlyArray<number> => {
  const found: Array<number> = []
  let before = offsetAt(zone, FIRST)
  for (let at = FIRST + 5 * DAY; at < LAST; at += 5 * DAY) {
    const after = offsetAt(zone, at)
    if (after === before) continue
    let low = at - 5 * DAY
    let high = at
    while (high - low > 1000) {
      const middle = Math.floor((low + high) / 2000) * 1000
      if (offsetAt(zone, middle) === before) low = middle
      else high = middle
    }
    found.push(high)
    before = after
  }
  return found
}

const monthNames = ["", "Jan", "FEB", "mar", "APR", "May", "jun", "JUL", "AUG", "sep", "OCT", "nov", "DEC"]
const dayNames = ["SUN", "mon", "TUE", "Wed", "THU", "fri", "SAT", "Sun"]

/** One element of a list: a value, a range or a step, which more often than not contains `near`. */
const element = (random: Random, near: number, min: number, max: number, name: (value: number) => string): string => {
  const around = random.chance(0.75) ? near : random.int(min, max)
  const low = random.int(Math.max(min, around - random.pick([1, 3, 60])), around)
  const high = random.int(around, Math.min(max, around + random.pick([1, 3, 60])))
  const step = random.chance(0.6) ? random.int(1, Math.min(6, max - min)) : random.int(1, max - min)
  switch (random.int(0, 9)) {
    case 0:
      return `*/${step}`
    case 1:
      return `${name(low)}/${step}`
    case 2:
      return low === high ? `${low}-${high}/${step}` : `${name(low)}-${name(high)}/${step}`
    case 3:
    case 4:
      // Whether SUN-SUN is a day or a week is nothing that the rules say.
      return low === high ? `${low}-${high}` : `${name(low)}-${name(high)}`
    default:
      return name(around)
  }
}

const list = (random: Random, one: () => string): string =>
  Array.from({ length: random.chance(0.7) ? 1 : random.int(2, 4) }, one).join(",")

const numbers = (random: Random, near: number, min: number, max: number, star: number): string => {
  if (random.chance(star)) return random.pick(["*", "*", "*", "*/1", `${min}-${max}`])
  return list(random, () => element(random, near, min, max, String))
}

const dayOfMonth = (random: Random, day: number, last: number): string => {
  if (random.chance(0.45)) return random.pick(["*", "*", "?", "*/1"])
  return list(random, () => {
    const near = Math.min(Math.max(day + random.pick([0, 0, 0, -1, 1, -2, 2]), 1), last)
    const back = random.chance(0.7) ? last - near : random.int(0, 30)
    switch (random.int(0, 9)) {
      case 0:
        return "L"
      case 1:
        return "LW"
      case 2:
        return back === 0 ? "L" : `L-${back}`
      case 3:
        return back === 0 ? "LW" : `L-${back}W`
      case 4:
      case 5:
        return `${random.chance(0.8) ? near : random.int(1, 31)}W`
      default:
        return element(random, near, 1, 31, String)
    }
  })
}

const dayOfWeek = (random: Random, weekday: number, day: number): string => {
  if (random.chance(0.5)) return random.pick(["*", "*", "?", "*/1"])
  const plus = random.chance(0.35) ? "+" : ""
  const named = random.chance(0.5)
  const name = (value: number) => (named ? dayNames[value]! : String(value))
  return (
    plus +
    list(random, () => {
      const near = random.chance(0.75) ? weekday : random.int(0, 6)
      const sunday = near === 0 && random.chance(0.5) ? 7 : near
      switch (random.int(0, 9)) {
        case 0:
        case 1:
          return `${name(sunday)}#${random.chance(0.7) ? Math.ceil(day / 7) : random.int(1, 5)}`
        case 2:
          return `${name(sunday)}#L`
        case 3:
          return `${name(sunday)}L`
        case 4:
          return `${name(random.int(Math.max(1, near - 3), 6))}-${name(7)}`
        case 5:
          return random.pick(["0-6", "1-7", "0-7", "5-7", "FRI-SUN", "1-5", "MON-FRI"])
        case 6:
          return name(sunday)
        default:
          return element(random, near, 0, 6, name)
      }
    })
  )
}

/** An expression that has much to do with the given wall time, in seconds as if it were UTC. */
const expressionNear = (random: Random, wall: number): string => {
  if (random.chance(0.02)) return random.pick(["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly"])
  const date = new Date(wall * 1000)
  const month = date.getUTCMonth() + 1
  const last = new Date(Date.UTC(date.getUTCFullYear(), month, 0)).getUTCDate()
  const monthName = random.chance(0.3) ? (value: number) => monthNames[value]! : String
  const texts = [
    numbers(random, date.getUTCMinutes(), 0, 59, 0.15),
    numbers(random, date.getUTCHours(), 0, 23, 0.3),
    dayOfMonth(random, date.getUTCDate(), last),
    random.chance(0.75) ? "*" : list(random, () => element(random, month, 1, 12, monthName)),
    dayOfWeek(random, date.getUTCDay(), date.getUTCDate())
  ]
  if (random.chance(0.2)) texts.unshift(numbers(random, date.getUTCSeconds(), 0, 59, 0.1))
  return texts.join(random.pick([" ", " ", "  ", "\t"]))
}

const policy = (random: Random): Cron.Dst => {
  const gap = random.pick([undefined, "after", "skip"] as const)
  const overlap = random.pick([undefined, "auto", "first", "second", "both"] as const)
  return { ...(gap === undefined ? {} : { gap }), ...(overlap === undefined ? {} : { overlap }) }
}

export interface Case {
  readonly expression: string
  readonly zone: string
  readonly dst: Cron.Dst
  /** The window `from <= instant < to`, in milliseconds. */
  readonly from: number
  readonly to: number
  /** Instants in the window to ask from, forwards and backwards. */
  readonly asks: ReadonlyArray<number>
}

export interface Failure {
  readonly case: Case
  readonly what: string
  readonly expected: string
  readonly actual: string
}

const iso = (instant: number | undefined) => (instant === undefined ? "none" : new Date(instant).toISOString())
const millis = (time: Option.Option<DateTime.Utc>) => Option.getOrUndefined(Option.map(time, DateTime.toEpochMillis))

const walk = (
  step: (at: number) => number | undefined,
  start: number,
  within: (at: number) => boolean,
  most: number
) => {
  const found: Array<number> = []
  for (let at = step(start); at !== undefined && within(at) && found.length <= most; at = step(at)) found.push(at)
  return found
}

const difference = (expected: ReadonlyArray<number>, actual: ReadonlyArray<number>, what: string) => {
  const length = Math.max(expected.length, actual.length)
  for (let i = 0; i < length; i++) {
    if (expected[i] === actual[i]) continue
    const near = `${what} (instant ${i} of ${expected.length})`
    return { what: near, expected: iso(expected[i]), actual: iso(actual[i]) }
  }
  return undefined
}

/** Compares engine and oracle over one window; `undefined` when they agree. */
export const check = (given: Case, clock: Clock): Failure | undefined => {
  try {
    return compare(given, clock)
  } catch (error) {
    return { case: given, what: "an exception", expected: "none", actual: String(error) }
  }
}

const compare = (given: Case, clock: Clock): Failure | undefined => {
  const { asks, dst, expression, from, zone } = given
  const reads = pattern(expression)
  const failed = (found: Omit<Failure, "case">): Failure => ({ case: given, ...found })

  const parsed = Cron.parse(expression, { timezone: zone, dst })
  if (Result.isFailure(parsed)) {
    if (!possible(reads)) return undefined
    return failed({ what: "parse", expected: "a schedule", actual: parsed.failure.message })
  }
  const schedule = parsed.success
  const timed = (ask: (at: number) => Option.Option<DateTime.Utc>) => (at: number) => {
    const start = performance.now()
    const found = millis(ask(at))
    const took = performance.now() - start
    if (took > PATIENCE) throw new Error(`the engine took ${Math.round(took)} ms from ${iso(at)}`)
    return found
  }
  const next = timed(schedule.next)
  const previous = timed(schedule.previous)

  const to = affordable(reads, given)
  const expected = due(reads, clock, dst, from, to)
  const most = expected.length
  // An engine that does not move on must not hold up the walk.
  const forwards = walk(next, from - 1, (at) => at < to, most)
  const backwards = walk(previous, to, (at) => at >= from, most)
  const walked =
    difference(expected, forwards, "walk with next") ??
    difference(expected.toReversed(), backwards, "walk with previous") ??
    difference(expected.slice(0, 5), schedule.take(Math.min(5, most), from - 1).map(DateTime.toEpochMillis), "take")
  if (walked !== undefined) return failed(walked)

  for (const at of asks) {
    if (at < from || at >= to) continue
    const after = next(at)
    const wantedAfter = expected.find((instant) => instant > at)
    if (wantedAfter === undefined ? after !== undefined && after < to : after !== wantedAfter) {
      return failed({ what: `next after ${iso(at)}`, expected: iso(wantedAfter), actual: iso(after) })
    }
    const before = previous(at)
    const wantedBefore = expected.findLast((instant) => instant < at)
    if (wantedBefore === undefined ? before !== undefined && before >= from : before !== wantedBefore) {
      return failed({ what: `previous before ${iso(at)}`, expected: iso(wantedBefore), actual: iso(before) })
    }
  }
  // 400 years are a long walk, so only now and then; the start of a window is as good as random.
  if (most === 0 && from % 16 === 0 && !possible(reads)) {
    return failed({ what: "parse", expected: "a refusal: no date matches", actual: "a schedule" })
  }
  return undefined
}

/** The end of the window, or where the oracle has walked long enough: 8 days, or 2 if second by second. */
const affordable = (reads: Pattern, { from, to }: Case): number => {
  const days = daysToWalk(reads, from, to)
  const stop = days[reads.withSeconds ? 2 : 8]
  return stop === undefined ? to : Math.max(from, Math.min(to, stop * DAY))
}

/** Replaces fields by stars and drops policies for as long as the case still fails. */
const shrink = (failure: Failure, clock: Clock): Failure => {
  const fields = failure.case.expression.split(/[ \t]+/)
  const plain = fields.map((text, i) => (i < fields.length - 3 && text !== "0" ? "0" : "*"))
  const simpler: ReadonlyArray<Case> = [
    ...plain.map((text, i): Case => Object.assign({}, failure.case, { expression: fields.with(i, text).join(" ") })),
    { ...failure.case, dst: {} },
    { ...failure.case, dst: failure.case.dst.gap === undefined ? {} : { gap: failure.case.dst.gap } },
    { ...failure.case, dst: failure.case.dst.overlap === undefined ? {} : { overlap: failure.case.dst.overlap } }
  ]
  const size = (one: Case) => one.expression.replaceAll(/[* ]/g, "").length + Object.keys(one.dst).length
  for (const candidate of simpler) {
    if (size(candidate) >= size(failure.case)) continue
    const still = failure.what === "an exception" ? undefined : check(candidate, clock)
    if (still !== undefined) return shrink(still, clock)
  }
  return failure
}

export interface Options {
  readonly seed: number
  readonly firstRound?: number
  /** Whether to begin another round, given how many there were. */
  readonly more: (rounds: number) => boolean
}

export interface Report {
  readonly seed: number
  readonly rounds: number
  readonly cases: number
  /** Different clock changes that a window was laid around, and the zones they belong to. */
  readonly transitions: number
  readonly zones: number
  readonly failure?: Failure
}

export const run = ({ firstRound = 0, more, seed }: Options): Report => {
  const zones = Intl.supportedValuesOf("timeZone")
  const known = new Map<string, ReadonlyArray<number>>()
  const covered = new Set<string>()
  let rounds = 0
  let cases = 0
  const report = () => ({
    seed,
    rounds,
    cases,
    transitions: covered.size,
    zones: new Set([...covered].map((transition) => transition.split(" ")[0])).size
  })

  while (more(rounds)) {
    const round = firstRound + rounds
    rounds++
    const random = makeRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(round + 1, 0x85ebca6b))
    const zone = round % 2 === 0 ? random.pick(peculiar) : random.pick(zones)
    const transitions = known.get(zone) ?? transitionsOf(zone)
    known.set(zone, transitions)
    const clock = new Clock(zone)
    const atTransition = transitions.length > 0 && random.chance(0.85)
    const center = atTransition ? random.pick(transitions) : random.int(FIRST / 1000, LAST / 1000) * 1000
    if (atTransition) covered.add(`${zone} ${center}`)
    const walls = [offsetAt(zone, center - 1000), offsetAt(zone, center)].map((offset) => (center + offset) / 1000)
    const low = Math.min(...walls)
    const high = Math.max(...walls)

    for (let i = 0; i < CASES_PER_ROUND; i++) {
      // The edges of what is skipped or repeated, what lies between, and what is near.
      const wall = random.pick([
        low + random.pick([-60, -1, 0, 1, 60]),
        high + random.pick([-60, -1, 0, 1, 60]),
        random.int(low, high),
        random.int(low - 7200, high + 7200),
        random.int(low - 7200, high + 7200)
      ])
      const expression = expressionNear(random, wall)
      const span = () => random.int(0, random.pick([HOUR, 4 * HOUR, 30 * HOUR, 400 * DAY]))
      const seconds = expression.split(/[ \t]+/).length === 6
      const reach = () => (seconds ? Math.min(span(), 3 * HOUR) : span())
      const from = center - reach()
      const to = center + 1000 + reach()
      const asks = Array.from({ length: 6 }, (_, k) =>
        k < 2 ? random.int(from, to) : center + random.pick([-1, 1]) * random.int(0, random.pick([2, 1500, 2 * HOUR]))
      )
      cases++
      const failure = check({ expression, zone, dst: policy(random), from, to, asks }, clock)
      if (failure !== undefined) return { ...report(), failure: shrink(failure, clock) }
    }
  }
  return report()
}

export const describeFailure = ({ failure, rounds, seed }: Report, firstRound = 0): string => {
  if (failure === undefined) return "no failure"
  const { asks, dst, expression, from, to, zone } = failure.case
  return [
    `seed ${seed}, round ${firstRound + rounds - 1}: ${failure.what}`,
    `  Cron.parse(${JSON.stringify(expression)}, ${JSON.stringify({ timezone: zone, dst })})`,
    `  window   ${iso(from)} to ${iso(to)}, asked from ${asks.map(iso).join(" ")}`,
    `  expected ${failure.expected}`,
    `  actual   ${failure.actual}`,
    `  again: node test/cron/fuzz.main.ts --seed ${seed} --round ${firstRound + rounds - 1} --rounds 1`
  ].join("\n")
}

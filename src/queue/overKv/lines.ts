/**
 * The lines of groups. Who joins or leaves a line only marks it; whoever claims next looks at marked lines and lets the head, and
 * only it, stand among what can be claimed. The mark is what makes this safe: every change of a line writes it, and a ranking
 * commits only if the mark is as it was before the line was read. A ranking also writes the name of the head, even the same one:
 * a line without a mark whose name of the head is unchanged since it was read was not changed in between.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Entry } from "../../kv/model.ts"
import type { Step } from "../../kv/op.ts"
import type { QueueError } from "../QueueError.ts"
import { type Change, healing } from "./changes.ts"
import { lastPart } from "./keys.ts"
import { deleteStep, isIndexed, setStep, transition } from "./machine.ts"
import { type Found, type QueuePlace, type Ranked, readMany, readMessages, readPage } from "./place.ts"

const parallel = 8

interface Line {
  readonly group: string
  readonly mark: Entry | undefined
  /** The seq of the head. */
  readonly head: Entry | undefined
  /** The entry of the first that is blocked. */
  readonly first: Entry | undefined
}

const headAndFirst = (place: QueuePlace, operation: string, group: string, concurrency: number) =>
  Effect.all(
    [
      readMany(place, operation, [place.keys.dirty(group), place.keys.head(group)]),
      readPage(place, operation, place.keys.waitingPrefix(group), { limit: 1 })
    ],
    { concurrency }
  )

/**
 * Reads a line, with the mark that was read before. What a commit checks must be read before what it relies on: without a mark the
 * reads go one after the other.
 */
const readLine = (
  place: QueuePlace,
  operation: string,
  group: string,
  mark: Entry | undefined
): Effect.Effect<Line, QueueError> =>
  Effect.map(headAndFirst(place, operation, group, mark === undefined ? 1 : 2), ([[now, head], { entries }]) => ({
    group,
    mark: mark ?? (now === undefined ? undefined : Option.getOrUndefined(now)),
    head: head === undefined ? undefined : Option.getOrUndefined(head),
    first: entries[0]
  }))

const seqOfHead = ({ head }: Line): string | undefined => head?.value as string | undefined

/** What puts the heads of marked lines where they belong. */
export const rankings = (
  place: QueuePlace,
  operation: string,
  marks: ReadonlyArray<Entry>
): Effect.Effect<ReadonlyArray<Change>, QueueError> =>
  Effect.gen(function* () {
    if (marks.length === 0) return []
    const lines = yield* Effect.forEach(marks, (mark) => readLine(place, operation, lastPart(mark.key), mark), {
      concurrency: parallel
    })
    const seqs = lines.flatMap((line) => {
      const head = seqOfHead(line)
      return [...(head === undefined ? [] : [head]), ...(line.first === undefined ? [] : [lastPart(line.first.key)])]
    })
    const found = new Map<string, Found>()
    for (const [i, one] of (yield* readMessages(place, operation, seqs)).entries()) found.set(seqs[i]!, one)
    return lines.map((line, i) => {
      const head = seqOfHead(line)
      return ranking(
        place,
        line,
        marks[i]!,
        head === undefined ? undefined : found.get(head),
        line.first === undefined ? undefined : found.get(lastPart(line.first.key))
      )
    })
  })

const ranking = (
  place: QueuePlace,
  line: Line,
  mark: Entry,
  head: Found | undefined,
  first: Found | undefined
): Change => {
  const { keys } = place
  const checks: Array<Change["checks"][number]> = [{ key: mark.key, versionstamp: mark.versionstamp }]
  const steps: Array<Step> = [deleteStep(mark.key)]
  const change: Change = { checks, steps, counts: false, wakes: false }
  const lead = (seq: string) => steps.push(setStep(keys.head(line.group), seq))

  if (line.first !== undefined && first !== undefined && !isIndexed(keys, first.message, line.first.key))
    return healing({ key: line.first.key, versionstamp: line.first.versionstamp }, first.check)

  const standing = head?.message
  // Whoever was claimed holds the line until it ends.
  if (standing?.held === true) {
    lead(standing.seq)
    return change
  }
  const stands = standing?.place === "ready"
  const next = first?.message
  if (next === undefined) {
    if (stands) lead(standing.seq)
    else if (line.head !== undefined) steps.push(deleteStep(keys.head(line.group)))
    return change
  }
  if (stands) {
    const before = next.due < standing.due || (next.due === standing.due && next.seq < standing.seq)
    if (!before) {
      lead(standing.seq)
      return change
    }
    // Nobody has seen the head yet, and this one was due before it. A claim of the head does not write the mark.
    checks.push(head!.check)
    steps.push(...transition(keys, standing, { ...standing, place: "blocked" }))
  }
  steps.push(...transition(keys, next, { ...next, place: "ready" }))
  lead(next.seq)
  return change
}

/** A line whose head is about to end: what must hold for its next to take over in the same commit, and who that is. */
export interface FreedLine {
  readonly group: string
  readonly checks: Change["checks"]
  readonly first: Entry | undefined
}

/** Reads the lines that some heads hold, without those that are marked and must be looked at first. */
export const readFreed = (
  place: QueuePlace,
  operation: string,
  heads: ReadonlyArray<{ readonly group: string; readonly seq: string }>
): Effect.Effect<ReadonlyMap<string, FreedLine>, QueueError> =>
  Effect.map(
    Effect.forEach(heads, ({ group }) => readLine(place, operation, group, undefined), { concurrency: parallel }),
    (lines) => {
      const freed = new Map<string, FreedLine>()
      for (const [i, line] of lines.entries()) {
        const { first, group, head, mark } = line
        if (mark !== undefined || head === undefined || seqOfHead(line) !== heads[i]!.seq) continue
        freed.set(group, {
          group,
          checks: [
            { key: place.keys.dirty(group), versionstamp: null },
            { key: head.key, versionstamp: head.versionstamp }
          ],
          first
        })
      }
      return freed
    }
  )

/** The take-over of a freed line by its next, in the state that it is given; without a next the line ends. */
export const takeOver = (
  place: QueuePlace,
  { checks, group }: FreedLine,
  next: { readonly before: Found["message"]; readonly after: NonNullable<Found["message"]> } | undefined
): Ranked => ({
  checks,
  steps:
    next === undefined
      ? [deleteStep(place.keys.head(group))]
      : [...transition(place.keys, next.before, next.after), setStep(place.keys.head(group), next.after.seq)],
  wakes: next?.after.place === "ready"
})

import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as Kv from "../Kv.ts"
import type { ModelEntry, ModelMutation, ModelSelector } from "./kvModelState.ts"
import { KvModel } from "./kvModelState.ts"
import type { Case, KvSuiteOptions } from "./kvSupport.ts"
import { assertOrdered, casesOver, keyText, watching } from "./kvSupport.ts"

/**
 * The layer under test and how long the model test runs.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvModelOptions<E = never> extends Pick<KvSuiteOptions<E>, "layer" | "clock" | "advance" | "timeout"> {
  /** How many random sequences are run. Default: 200. */
  readonly runs?: number | undefined
  /** The most operations of one sequence. Default: 50. */
  readonly operations?: number | undefined
  /** Repeats the sequences of a failed run: the seed it printed. */
  readonly seed?: number | undefined
}

/** Every part type, nested prefixes, and neighbours that only a right order tells apart. */
const keyPool: ReadonlyArray<Kv.Key> = [
  ["a"],
  ["a", "b"],
  ["a", "b", 1],
  ["a", "b\0"],
  ["a", "c"],
  ["a\0"],
  ["b", 1n],
  ["b", -1n],
  ["b", 2n ** 70n],
  [1],
  [-0.5],
  [true],
  [false, ""],
  [new Uint8Array([97])],
  ["\u{1f600}"],
  ["\uffff"]
]

const values: ReadonlyArray<unknown> = [null, 0, "text", [1, { a: "\u{1f600}" }], { n: -1.5 }, Uint8Array.of(0, 255)]

const operands: ReadonlyArray<bigint> = [0n, 1n, 7n, 2n ** 53n + 1n, 2n ** 62n, 2n ** 63n - 1n]

const at = fc.nat({ max: keyPool.length - 1 })
const some = <A>(list: ReadonlyArray<A>) => fc.nat({ max: list.length - 1 })

const mutationArb = (ttl: fc.Arbitrary<number | undefined>) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ op: fc.constant("set" as const), at, value: some(values), ttl }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant("delete" as const), at }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constantFrom("sum", "min", "max"), at, operand: some(operands) }) }
  )

const selectorArb = fc.oneof(
  fc.record({ prefix: at, bound: fc.constantFrom("none", "start", "end"), by: at }),
  fc.record({ start: at, end: at })
)

const operationArb = (virtual: boolean) => {
  const ttl = fc.option(virtual ? fc.nat({ max: 40 }).map((n) => n + 1) : fc.constant(3_600_000), { nil: undefined })
  const write = mutationArb(ttl)
  return fc.oneof(
    { weight: 3, arbitrary: fc.record({ run: fc.constant("get" as const), at }) },
    { weight: 2, arbitrary: fc.record({ run: fc.constant("getMany" as const), keys: fc.array(at, { maxLength: 8 }) }) },
    { weight: 8, arbitrary: fc.record({ run: fc.constant("alone" as const), write }) },
    {
      weight: 5,
      arbitrary: fc.record({
        run: fc.constant("atomic" as const),
        checks: fc.array(fc.record({ at, expect: fc.constantFrom("now", "now", "now", "old", "none") }), {
          maxLength: 4
        }),
        writes: fc.array(write, { maxLength: 6 })
      })
    },
    {
      weight: 4,
      arbitrary: fc.record({
        run: fc.constant("list" as const),
        selector: selectorArb,
        reverse: fc.boolean(),
        limit: fc.option(fc.nat({ max: 8 }), { nil: undefined }),
        page: fc.integer({ min: 1, max: 5 })
      })
    },
    ...(virtual
      ? [{ weight: 3, arbitrary: fc.record({ run: fc.constant("advance" as const), millis: fc.nat({ max: 30 }) }) }]
      : [])
  )
}

type Operation = ReturnType<typeof operationArb> extends fc.Arbitrary<infer A> ? A : never
type Write = ReturnType<typeof mutationArb> extends fc.Arbitrary<infer A> ? A : never

/** One sequence against the store and the model side by side. */
class Sequence {
  readonly #case: Case
  readonly #root: string
  readonly #model = new KvModel()
  /** Every versionstamp each key ever had, for stale checks and their order. */
  readonly #stamps = new Map<string, Array<string>>()

  constructor(c: Case, root: string) {
    this.#case = c
    this.#root = root
  }

  run(operations: ReadonlyArray<Operation>): Effect.Effect<void, Kv.KvError, Kv.Kv> {
    const { kv, pause } = this.#case
    return Effect.scoped(
      Effect.gen({ self: this }, function* () {
        const watcher = yield* watching(this.#case, kv.watchPrefix([this.#root]))
        for (const operation of operations) {
          this.#model.now = yield* kv.now
          yield* this.#step(operation)
        }
        this.#model.now = yield* kv.now
        this.#compare(yield* Stream.runCollect(kv.list({ prefix: [this.#root] })), this.#model.all())
        const expected = new Map(this.#model.all().map((entry) => [keyText(entry.key), entry.versionstamp]))
        const same = () => {
          const seen = watcher.state()
          return seen.size === expected.size && Array.from(seen).every(([k, e]) => expected.get(k) === e.versionstamp)
        }
        yield* watcher.synced
        for (let i = 0; i < 5 && !same(); i++) yield* pause
        yield* watcher.until("the model's final state", same)
        assertOrdered(watcher.events)
      })
    )
  }

  #step(operation: Operation): Effect.Effect<void, Kv.KvError, Kv.Kv> {
    const { advance, kv } = this.#case
    switch (operation.run) {
      case "advance":
        return advance(operation.millis)
      case "get":
        return Effect.map(
          Effect.all([kv.get(this.#key(operation.at)), kv.has(this.#key(operation.at))]),
          ([found, has]) => {
            assert.strictEqual(has, Option.isSome(found))
            this.#compareOne(found, this.#model.get(this.#key(operation.at)))
          }
        )
      case "getMany":
        return Effect.map(kv.getMany(operation.keys.map((i) => this.#key(i))), (found) => {
          assert.strictEqual(found.length, operation.keys.length)
          for (const [i, one] of found.entries()) this.#compareOne(one, this.#model.get(this.#key(operation.keys[i]!)))
        })
      case "list":
        return this.#list(operation)
      case "alone":
        return this.#commit([], [operation.write], (_, [op]) => op!)
      case "atomic":
        return this.#commit(operation.checks, operation.writes, (checks, ops) => Kv.atomic([...ops, ...checks]))
    }
  }

  #commit(
    checks: ReadonlyArray<{ readonly at: number; readonly expect: string }>,
    writes: ReadonlyArray<Write>,
    commitOf: (
      checks: ReadonlyArray<Kv.Check>,
      ops: ReadonlyArray<Kv.Op<Kv.Versionstamp, Kv.KvError, never>>
    ) => Effect.Effect<Kv.Versionstamp, Kv.KvError | Kv.Conflict, Kv.Kv>
  ): Effect.Effect<void, never, Kv.Kv> {
    const expected = checks.map((check) => ({
      key: this.#key(check.at),
      versionstamp: this.#expected(this.#key(check.at), check.expect)
    }))
    const mutations = writes.map((write) => this.#mutation(write))
    const verdict = this.#model.commit(expected, mutations)
    const commit = commitOf(
      expected.map(({ key, versionstamp }) => Kv.check(key, versionstamp as Kv.Versionstamp | null)),
      mutations.map(opOf)
    )
    return Effect.map(Effect.result(commit), (result) => {
      if (Result.isFailure(result)) {
        const error = result.failure
        if (error._tag === "Conflict")
          assert.deepEqual({ _tag: "Conflict", failed: [...error.failed] }, verdict as unknown)
        else assert.strictEqual(error.reason._tag as string, verdict._tag, error.message)
        return
      }
      if (verdict._tag !== "Commits")
        return assert.fail(`the store committed what the model refuses with ${verdict._tag}`)
      verdict.write(result.success)
      for (const { key } of mutations) this.#remember(key, result.success)
    })
  }

  #list(operation: Extract<Operation, { readonly run: "list" }>): Effect.Effect<void, Kv.KvError> {
    const { kv } = this.#case
    const { limit, page, reverse } = operation
    const selector = this.#selector(operation.selector)
    const expected = this.#model.list(selector, { limit, reverse })
    return Effect.gen({ self: this }, function* () {
      this.#compare(yield* Stream.runCollect(kv.list(selector as Kv.Selector, { limit, reverse })), expected)
      const whole = this.#model.list(selector, { limit: undefined, reverse })
      const paged: Array<Kv.Entry> = []
      let cursor: Option.Option<Kv.PageCursor> = Option.none()
      do {
        const next: Kv.Page = yield* kv.page(selector as Kv.Selector, {
          limit: page,
          reverse,
          cursor: Option.getOrUndefined(cursor)
        })
        for (const entry of next.entries) paged.push(entry)
        cursor = next.cursor
        assert.strictEqual(Option.isSome(cursor), paged.length < whole.length)
      } while (Option.isSome(cursor))
      this.#compare(paged, whole)
    })
  }

  #key(index: number): Kv.Key {
    return [this.#root, ...keyPool[index]!]
  }

  #expected(key: Kv.Key, expect: string): string | null {
    if (expect === "none") return null
    if (expect === "now") return this.#model.get(key)?.versionstamp ?? null
    return this.#stamps.get(keyText(key))?.at(-2) ?? null
  }

  #remember(key: Kv.Key, versionstamp: string): void {
    const stamps = this.#stamps.get(keyText(key)) ?? []
    const last = stamps.at(-1)
    assert.isTrue(last === undefined || last <= versionstamp, "the versionstamps of one key went down")
    if (last !== versionstamp) stamps.push(versionstamp)
    this.#stamps.set(keyText(key), stamps)
  }

  #mutation(write: Write): ModelMutation {
    const key = this.#key(write.at)
    if (write.op === "set") return { op: "set", key, value: values[write.value], ttl: write.ttl }
    return write.op === "delete" ? { op: "delete", key } : { op: write.op, key, operand: operands[write.operand]! }
  }

  #selector(selector: Extract<Operation, { readonly run: "list" }>["selector"]): ModelSelector {
    if (!("prefix" in selector)) return { start: this.#key(selector.start), end: this.#key(selector.end) }
    // One part of the pool's key, so that prefixes hold something; and the root alone for the first.
    const prefix: Kv.Key = selector.prefix === 0 ? [this.#root] : [this.#root, keyPool[selector.prefix]![0]]
    const bound: Kv.Key = [prefix[0], ...prefix.slice(1), ...keyPool[selector.by]!.slice(-1)]
    if (selector.bound === "none") return { prefix }
    return selector.bound === "start" ? { prefix, start: bound } : { prefix, end: bound }
  }

  #compareOne(found: Option.Option<Kv.Entry>, expected: ModelEntry | undefined): void {
    this.#compare(Option.isSome(found) ? [found.value] : [], expected === undefined ? [] : [expected])
  }

  #compare(found: ReadonlyArray<Kv.Entry>, expected: ReadonlyArray<ModelEntry>): void {
    const exact = this.#case.virtual
    assert.deepEqual(
      found.map((entry) => ({
        ...entry,
        expiresAt: exact ? Option.getOrUndefined(entry.expiresAt) : Option.isSome(entry.expiresAt)
      })),
      expected.map((entry) => ({
        ...entry,
        expiresAt: exact ? entry.expiresAt : entry.expiresAt !== undefined
      })) as never
    )
  }
}

const opOf = (mutation: ModelMutation): Kv.Op<Kv.Versionstamp, Kv.KvError, never> => {
  if (mutation.op === "set") return Kv.set(mutation.key, mutation.value as Kv.Storable, { expireIn: mutation.ttl })
  if (mutation.op === "delete") return Kv.delete(mutation.key)
  const count = { sum: Kv.sum, min: Kv.min, max: Kv.max }[mutation.op]
  return count(mutation.key, mutation.operand)
}

/**
 * Registers a model test: random sequences of every Kv operation run against the backend and against a plain sorted map, and
 * every answer must be the same. Needs `fast-check`, which prints the seed and the shortest failing sequence.
 *
 * With a live clock no time passes between operations, so that expiry is set and removed but never reached.
 *
 * @since 0.1.0
 * @category testing
 */
export const kvModel = <E = never>(name: string, options: KvModelOptions<E>): void => {
  const test = casesOver(options.layer, { timeout: 120_000, ...options })
  describe(`Kv model: ${name}`, () => {
    test("answers every operation of random sequences as a sorted map does", (c) =>
      Effect.gen(function* () {
        const run = Effect.runPromiseExitWith(yield* Effect.context<Kv.Kv>())
        let runs = 0
        const property = fc.asyncProperty(
          fc.array(operationArb(c.virtual), { minLength: 1, maxLength: options.operations ?? 50, size: "max" }),
          (operations) =>
            run(new Sequence(c, `${c.root}-${runs++}`).run(operations)).then(
              Exit.match({
                onSuccess: () => undefined,
                onFailure: (cause) => {
                  throw new Error(String(cause))
                }
              })
            )
        )
        yield* Effect.promise(() =>
          fc.assert(property, {
            numRuns: options.runs ?? 200,
            ...(options.seed === undefined ? undefined : { seed: options.seed })
          })
        )
      }))
  })
}

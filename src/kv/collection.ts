import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Conflict } from "./KvError.ts"
import { InvalidKey, KvError, Undecodable, Unencodable } from "./KvError.ts"
import type {
  Change,
  Entry,
  Key,
  KeyPart,
  ListOptions,
  OnInvalid,
  Page,
  SetOptions,
  Versionstamp,
  WatchOptions
} from "./model.ts"
import { check, type Op, type Step } from "./op.ts"
import { kvOp, transact } from "./ops.ts"
import type { Service } from "./service.ts"
import { Kv } from "./service.ts"
import { formatKey } from "./value.ts"

/**
 * Which part of a collection to list: bounds are keys of the collection; beside `under` they must begin with it.
 *
 * @since 0.1.0
 * @category options
 */
export interface CollectionListOptions<K> extends ListOptions {
  /** Only keys that begin with these parts, below the collection's prefix. */
  readonly under?: ReadonlyArray<KeyPart> | undefined
  /** Inclusive. */
  readonly start?: K | undefined
  /** Exclusive. */
  readonly end?: K | undefined
  /** Default: `"fail"`. */
  readonly onInvalid?: OnInvalid | undefined
}

/**
 * How a collection is watched.
 *
 * @since 0.1.0
 * @category options
 */
export interface CollectionWatchOptions extends WatchOptions {
  /** Default: `"fail"`. */
  readonly onInvalid?: OnInvalid | undefined
}

/**
 * The schema of a collection's keys: its encoded side is a key part, or a tuple of them.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeySchema extends Schema.Constraint {
  readonly Encoded: KeyPart | ReadonlyArray<KeyPart>
  readonly EncodingServices: never
  readonly DecodingServices: never
}

/**
 * Typed entries below a prefix: a pure value that needs its store (`Kv.Kv`, unless named) when used. Values take the schema's
 * make input when written, and are decoded when read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Collection<in out KS extends KeySchema, in out S extends Schema.Top, in out I> {
  readonly prefix: Key
  /** The absolute key, for `Kv.check` and the raw service. Throws when the key schema refuses the key. */
  readonly at: (key: KS["Type"]) => Key
  /** The collection's key of an absolute key; `None` for a key of another collection. */
  readonly keyOf: (key: Key) => Option.Option<KS["Type"]>
  readonly get: (key: KS["Type"]) => Effect.Effect<Option.Option<Entry<S["Type"]>>, KvError, I | S["DecodingServices"]>
  readonly getMany: (
    keys: ReadonlyArray<KS["Type"]>
  ) => Effect.Effect<ReadonlyArray<Option.Option<Entry<S["Type"]>>>, KvError, I | S["DecodingServices"]>
  readonly has: (key: KS["Type"]) => Effect.Effect<boolean, KvError, I>
  readonly set: (
    key: KS["Type"],
    value: S["~type.make.in"],
    options?: SetOptions
  ) => Op<Versionstamp, KvError, S["EncodingServices"], I>
  readonly delete: (key: KS["Type"]) => Op<Versionstamp, KvError, never, I>
  /**
   * Reads, decides, commits; again with a fresh read when somebody else wrote in between. Like `set` it removes an expiry unless
   * `expireIn` is given.
   */
  readonly update: <E = never, R = never>(
    key: KS["Type"],
    f: (old: Option.Option<S["Type"]>) => Effect.Effect<S["~type.make.in"], E, R>,
    options?: SetOptions
  ) => Effect.Effect<Entry<S["Type"]>, KvError | Conflict | E, I | R | S["DecodingServices"] | S["EncodingServices"]>
  readonly list: (
    options?: CollectionListOptions<KS["Type"]>
  ) => Stream.Stream<Entry<S["Type"]>, KvError, I | S["DecodingServices"]>
  readonly page: (
    options?: CollectionListOptions<KS["Type"]>
  ) => Effect.Effect<Page<S["Type"]>, KvError, I | S["DecodingServices"]>
  readonly watch: (
    keys: ReadonlyArray<KS["Type"]>,
    options?: CollectionWatchOptions
  ) => Stream.Stream<Change<S["Type"]>, KvError, I | S["DecodingServices"]>
  readonly watchPrefix: (
    under?: ReadonlyArray<KeyPart>,
    options?: CollectionWatchOptions
  ) => Stream.Stream<Change<S["Type"]>, KvError, I | S["DecodingServices"]>
}

/**
 * Defines a typed collection. Without `key` its keys are tuples of key parts; with a schema they are what it decodes to, and
 * its encoded side must be a key part or a tuple of them.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Kv } from "effect-seams"
 *
 * class User extends Schema.Class<User>("User")({ name: Schema.String, joined: Schema.DateTimeUtc }) {}
 * const Users = Kv.collection(["users"], { key: Schema.String, value: User })
 *
 * export const rename = (id: string, name: string) =>
 *   Users.update(id, (old) => Effect.map(Effect.fromOption(old), (user) => ({ ...user, name })))
 * ```
 */
export const collection = <S extends Schema.Top, KS extends KeySchema = Schema.Codec<Key>, I = Kv>(
  prefix: Key,
  options: {
    readonly value: S
    readonly key?: KS | undefined
    readonly store?: Context.Key<I, Service> | undefined
  }
): Collection<KS, S, I> => {
  type A = S["Type"]
  type K = KS["Type"]
  const store = (options.store ?? Kv) as Context.Key<I, Service>
  const codec = Schema.toCodecJson(options.value)
  const encode = Schema.encodeEffect(codec) as (
    a: A
  ) => Effect.Effect<Schema.Json, Schema.SchemaError, S["EncodingServices"]>
  const decode = Schema.decodeUnknownEffect(codec) as (
    u: unknown
  ) => Effect.Effect<A, Schema.SchemaError, S["DecodingServices"]>
  const encodeKey =
    options.key === undefined ? undefined : Schema.encodeUnknownSync(options.key as unknown as Schema.Codec<K, unknown>)
  const decodeKey =
    options.key === undefined
      ? undefined
      : Schema.decodeUnknownOption(options.key as unknown as Schema.Codec<K, unknown>)

  const at = (key: K): Key => {
    const encoded: unknown = encodeKey === undefined ? key : encodeKey(key)
    return (Array.isArray(encoded) ? [...prefix, ...encoded] : [...prefix, encoded]) as unknown as Key
  }
  const keyOf = (key: Key): Option.Option<K> => {
    if (key.length <= prefix.length || !prefix.every((part, i) => samePart(part, key[i]))) return Option.none()
    const rest = key.slice(prefix.length)
    if (decodeKey === undefined) return Option.some(rest as K)
    return rest.length === 1 ? Option.orElse(decodeKey(rest[0]), () => decodeKey(rest)) : decodeKey(rest)
  }

  const locate = locating(prefix, at)

  const decodeEntry = (entry: Entry): Effect.Effect<Entry<A>, KvError, S["DecodingServices"]> =>
    Effect.mapBoth(decode(entry.value), {
      onSuccess: (value) => ({ ...entry, value }),
      onFailure: (error) =>
        new KvError({ reason: new Undecodable({ key: formatKey(entry.key), detail: error.message }) })
    })
  const decodeOption = (
    entry: Option.Option<Entry>
  ): Effect.Effect<Option.Option<Entry<A>>, KvError, S["DecodingServices"]> =>
    Option.isNone(entry) ? Effect.succeedNone : Effect.asSome(decodeEntry(entry.value))
  /** An entry that does not decode, by the caller's choice: the error, or nothing and a warning. */
  const decodeOr = (
    onInvalid: OnInvalid | undefined
  ): ((entry: Entry) => Effect.Effect<Option.Option<Entry<A>>, KvError, S["DecodingServices"]>) =>
    onInvalid === "skip"
      ? (entry) =>
          Effect.catch(Effect.asSome(decodeEntry(entry)), (error) =>
            Effect.as(
              Effect.logWarning("effect-seams: an entry was left out (onInvalid: skip)", error.message),
              Option.none()
            )
          )
      : (entry) => Effect.asSome(decodeEntry(entry))

  const encodeStep = (
    absolute: Key,
    value: S["~type.make.in"],
    setOptions: SetOptions | undefined
  ): Effect.Effect<{ readonly made: A; readonly step: Step }, KvError, S["EncodingServices"]> =>
    options.value.makeEffect(value).pipe(
      Effect.mapError((issue) => unencodable(absolute, new Schema.SchemaError(issue).message)),
      Effect.flatMap((made: A) =>
        Effect.mapBoth(encode(made), {
          onFailure: (error) => unencodable(absolute, error.message),
          onSuccess: (json) => ({
            made,
            step: {
              _tag: "Set" as const,
              key: absolute,
              value: { _tag: "Json" as const, text: JSON.stringify(json) },
              expireIn: setOptions?.expireIn
            }
          })
        })
      )
    )
  const set = (key: K, value: S["~type.make.in"], setOptions?: SetOptions) =>
    kvOp(
      store,
      Effect.flatMap(locate(key), (absolute) =>
        Effect.map(encodeStep(absolute, value, setOptions), ({ step }) => [step])
      )
    )

  const get = (key: K) =>
    Effect.flatMap(store, (kv) =>
      Effect.flatMap(
        Effect.suspend(() => kv.get(at(key))),
        decodeOption
      )
    )

  const update: Collection<KS, S, I>["update"] = (key, f, setOptions) =>
    transact(
      Effect.gen(function* () {
        const kv = yield* store
        const absolute = yield* locate(key)
        const old = yield* get(key)
        const value = yield* f(Option.map(old, (entry) => entry.value))
        const { made, step } = yield* encodeStep(absolute, value, setOptions)
        const { key: checked, versionstamp: expected } = check(absolute, old)
        // No ack among the steps: ClaimLost cannot be.
        const versionstamp = yield* kv.commit([
          { _tag: "Check", key: checked, versionstamp: expected },
          step
        ]) as Effect.Effect<Versionstamp, KvError | Conflict>
        const expiresAt =
          setOptions?.expireIn === undefined
            ? Option.none<number>()
            : // The commit held: a read that fails must not look like a reason to try again.
              Option.flatMap(yield* Effect.orElseSucceed(kv.get(absolute), () => Option.none<Entry>()), (now) =>
                now.versionstamp === versionstamp ? now.expiresAt : Option.none()
              )
        return { key: absolute, value: made, versionstamp, expiresAt }
      })
    )

  const selector = (listOptions: CollectionListOptions<K> | undefined) => {
    const all = [...prefix, ...(listOptions?.under ?? [])] as unknown as Key
    return {
      prefix: all,
      start: listOptions?.start === undefined ? undefined : at(listOptions.start),
      end: listOptions?.end === undefined ? undefined : at(listOptions.end)
    }
  }

  const decodeChanges = (
    changes: Stream.Stream<Change, KvError, I>,
    onInvalid: OnInvalid | undefined
  ): Stream.Stream<Change<A>, KvError, I | S["DecodingServices"]> => {
    const decodeOne = decodeOr(onInvalid)
    return changes.pipe(
      Stream.mapEffect((change): Effect.Effect<Option.Option<Change<A>>, KvError, S["DecodingServices"]> =>
        change._tag === "Put"
          ? Effect.map(
              decodeOne(change.entry),
              Option.map((entry) => ({ _tag: "Put", entry }) as const)
            )
          : Effect.succeedSome(change)
      ),
      Stream.filter(Option.isSome),
      Stream.map((some) => some.value)
    )
  }

  return {
    prefix,
    at,
    keyOf,
    get,
    getMany: (keys) =>
      Effect.flatMap(store, (kv) =>
        Effect.flatMap(Effect.flatMap(Effect.forEach(keys, locate), kv.getMany), (found) =>
          Effect.forEach(found, decodeOption)
        )
      ),
    has: (key) => Effect.flatMap(store, (kv) => Effect.flatMap(locate(key), kv.has)),
    set,
    delete: (key) =>
      kvOp(
        store,
        Effect.map(locate(key), (absolute): ReadonlyArray<Step> => [{ _tag: "Delete", key: absolute }])
      ),
    update,
    list: (listOptions) => {
      const decodeOne = decodeOr(listOptions?.onInvalid)
      return Stream.unwrap(Effect.map(store, (kv) => kv.list(selector(listOptions), listOptions))).pipe(
        Stream.mapEffect(decodeOne),
        Stream.filter(Option.isSome),
        Stream.map((some) => some.value)
      )
    },
    page: (listOptions) =>
      Effect.gen(function* () {
        const kv = yield* store
        const page = yield* kv.page(selector(listOptions), listOptions)
        const decoded = yield* Effect.forEach(page.entries, decodeOr(listOptions?.onInvalid))
        return { entries: decoded.flatMap((entry) => (Option.isSome(entry) ? [entry.value] : [])), cursor: page.cursor }
      }),
    watch: (keys, watchOptions) =>
      decodeChanges(
        Stream.unwrap(Effect.map(store, (kv) => kv.watch(keys.map(at), watchOptions))),
        watchOptions?.onInvalid
      ),
    watchPrefix: (under, watchOptions) =>
      decodeChanges(
        Stream.unwrap(Effect.map(store, (kv) => kv.watchPrefix([...prefix, ...(under ?? [])], watchOptions))),
        watchOptions?.onInvalid
      )
  }
}

/** `at` of a collection for effects: a key that its schema refuses is an error there, and not an exception. */
export const locating =
  <K>(prefix: Key, at: (key: K) => Key) =>
  (key: K): Effect.Effect<Key, KvError> =>
    Effect.try({
      try: () => at(key),
      catch: (error) =>
        new KvError({
          reason: new InvalidKey({
            key: formatKey([...prefix, key as KeyPart]),
            detail: error instanceof Error ? error.message : String(error)
          })
        })
    })

const unencodable = (key: Key, detail: string) =>
  new KvError({ reason: new Unencodable({ key: formatKey(key), ...pathOf(detail) }) })

/** A schema error ends with a line that says where. */
const pathOf = (message: string): { readonly path: string; readonly detail: string } => {
  const where = /\n\s*at ((?:\[.*\])+)\s*$/.exec(message)
  return where === null
    ? { path: "$", detail: message }
    : { path: `$${where[1] ?? ""}`, detail: message.slice(0, where.index) }
}

const samePart = (a: KeyPart, b: KeyPart | undefined): boolean =>
  a instanceof Uint8Array
    ? b instanceof Uint8Array && a.length === b.length && a.every((byte, i) => byte === b[i])
    : a === b

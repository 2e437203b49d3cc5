/**
 * What the Kv seam infers in a program, and what must not compile. Checked by `npm run check`; nothing here runs.
 */
import { Context, Effect, Option, Schema, SchemaGetter, type Stream } from "effect"
import * as Kv from "../../src/Kv.ts"

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
const is = <T extends true>(_: T | void) => undefined

class User extends Schema.Class<User>("User")({ name: Schema.String, n: Schema.Finite }) {}
class Encrypter extends Context.Service<Encrypter, { readonly encrypt: (s: string) => Effect.Effect<string> }>()(
  "Encrypter"
) {}
class KeyRing extends Context.Service<KeyRing, { readonly decrypt: (s: string) => Effect.Effect<string> }>()(
  "KeyRing"
) {}
const Encrypted = Schema.String.pipe(
  Schema.decodeTo(Schema.String, {
    decode: SchemaGetter.transformEffect((s: string) => Effect.flatMap(KeyRing, (ring) => ring.decrypt(s))),
    encode: SchemaGetter.transformEffect((s: string) => Effect.flatMap(Encrypter, (e) => e.encrypt(s)))
  })
)

const Users = Kv.collection(["users"], { value: User, key: Schema.String })
const Vault = Kv.collection(["vault"], { value: Schema.Struct({ secret: Encrypted }) })
const Cache = Kv.named("cache")
const Pages = Kv.collection(["pages"], { value: Schema.String, store: Cache })

// A set takes the make input, needs the store, and fails with KvError alone.
export const setUser = Users.set("alice", { name: "Alice", n: 1 })
is<Same<Effect.Services<typeof setUser>, Kv.Kv>>()
is<Same<Effect.Error<typeof setUser>, Kv.KvError>>()
is<Same<Effect.Success<typeof setUser>, Kv.Versionstamp>>()

// A commit collects the requirements of its steps' schemas and can conflict.
export const commit = Effect.gen(function* () {
  const old = yield* Users.get("alice")
  return yield* Kv.atomic([
    Kv.check(Users.at("alice"), old),
    Users.set("alice", { name: "Alice", n: 2 }),
    Kv.sum(["count"], 1n),
    ...(Option.isSome(old) ? [Vault.set(["x"], { secret: "q" })] : [])
  ])
})
is<Same<Effect.Services<typeof commit>, Kv.Kv | Encrypter>>()
is<Same<Effect.Error<typeof commit>, Kv.KvError | Kv.Conflict>>()

// A Conflict that is caught is gone from the type.
export const settled = Kv.transact(commit).pipe(Effect.catchTag("Conflict", () => Effect.succeed("lost" as const)))
is<Same<Effect.Error<typeof settled>, Kv.KvError>>()

// Reading needs the decoding services.
is<Same<Effect.Services<ReturnType<typeof Vault.get>>, Kv.Kv | KeyRing>>()
is<Same<Effect.Success<ReturnType<typeof Users.get>>, Option.Option<Kv.Entry<User>>>>()
is<Same<ReturnType<typeof Users.watch>, Stream.Stream<Kv.Change<User>, Kv.KvError, Kv.Kv>>>()

// A named store is another requirement.
is<Same<Effect.Services<ReturnType<typeof Pages.set>>, Kv.Named<"cache">>>()
export const page = Kv.atomic([Pages.set(["p"], "html")])
is<Same<Effect.Services<typeof page>, Kv.Named<"cache">>>()

export const grown = Users.update("alice", (old) =>
  Effect.succeed({ name: "Alice", n: Option.match(old, { onNone: () => 0, onSome: (user) => user.n + 1 }) })
)
is<Same<Effect.Error<typeof grown>, Kv.KvError | Kv.Conflict>>()

export const refused = [
  // @ts-expect-error the key type of the collection is string
  () => Users.get(["alice"]),
  // @ts-expect-error a value of the wrong shape
  () => Users.set("alice", { name: 1, n: 1 }),
  // @ts-expect-error an effect that is no longer a mutation is no step
  () => Kv.atomic([Users.set("alice", { name: "", n: 1 }).pipe(Effect.retry({ times: 3 }))]),
  // @ts-expect-error a read is no step
  () => Kv.atomic([Users.get("alice")]),
  // @ts-expect-error a check is no effect
  () => Effect.runPromise(Kv.check(["a"], null)),
  // @ts-expect-error counters take bigints
  () => Kv.sum(["count"], 1),
  // @ts-expect-error keys are not empty
  () => Kv.set([], 1),
  // @ts-expect-error raw values are JSON or bytes
  () => Kv.set(["a"], new Date(0))
]

/** Who makes the schema, who may use it, and what is said when it does not fit. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import * as Kv from "../../../src/Kv.ts"
import * as Postgres from "../../../src/layers/postgres/index.ts"
import { schemaVersion } from "../../../src/layers/postgres/schema/migrations.ts"
import * as Queue from "../../../src/Queue.ts"
import { locate, run } from "../../servers/machine.ts"
import { reasonOf, until } from "../../support/faults.ts"
import { temporaryFolder } from "../../support/processes.ts"
import { freshSchema } from "./support.ts"
import { type Admin, clientOf, handling, impatient, Jobs, place } from "./supportFaults.ts"

/** What became of building a layer. */
const building = (options: Postgres.ConnectionOptions) =>
  Effect.scoped(Effect.as(Postgres.makeConnection({ ...impatient, ...options }), "built" as const)).pipe(
    Effect.catch(({ message, reason }) => Effect.succeed({ ...reason, message }))
  )

const refused = (options: Postgres.ConnectionOptions) =>
  Effect.map(building(options), (found) => {
    if (found === "built") throw new Error("it was built")
    return found
  })

/** Both seams do what they do. */
const works = (options: Postgres.Options) =>
  Effect.gen(function* () {
    const kv = yield* Kv.Kv
    yield* Kv.atomic([Kv.sum(["n"], 1n), Kv.set(["a"], 1, { expireIn: "1 minute" }), Jobs.enqueue(1)])
    assert.strictEqual(Option.getOrThrow(yield* kv.get(["a"])).value, 1)
    yield* kv.delete(["a"])
    yield* Jobs.enqueue(2, {
      delay: "10 millis",
      priority: 1,
      dedupe: { key: freshSchema() },
      ttl: "1 minute",
      group: "g"
    })
    const handled = yield* handling()
    yield* until("the jobs are done", () => handled.length === 2)
  }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Postgres.layer({ tracing: false, ...options }))))

/** The tables that a schema has; `undefined`: it is not there. */
const tablesOf = (admin: Admin, schema: string) =>
  Effect.gen(function* () {
    const there = yield* admin("SELECT FROM pg_namespace WHERE nspname = $1", [schema])
    const rows = yield* admin("SELECT tablename FROM pg_tables WHERE schemaname = $1", [schema])
    return there.length === 0 ? undefined : rows.map((row) => row["tablename"] as string)
  })

/** A role that may do nothing yet. */
const roleOf = (admin: Admin, schema: string) =>
  Effect.acquireRelease(Effect.as(admin(`CREATE ROLE "role-${schema}" LOGIN`), `role-${schema}`), (role) =>
    Effect.andThen(admin(`DROP OWNED BY "${role}" CASCADE`), admin(`DROP ROLE "${role}"`))
  )

describe("migrate: auto", () => {
  it.live("makes the schema once when twelve begin at the same time, and finds it later", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const connections = yield* Effect.forEach(
        Array.from({ length: 12 }),
        () => Postgres.makeConnection({ url, schema }),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(connections.map(({ store }) => store)).size, 1)
      assert.deepStrictEqual(yield* admin(`SELECT version FROM "${schema}".meta`), [{ version: schemaVersion }])
      yield* works({ url, schema })
    })
  )

  it.live("makes several schemas at the same time, each independent of the others", () =>
    Effect.gen(function* () {
      const { admin, url } = yield* place
      const schemas = Array.from({ length: 4 }, (_, n) => `weird-Name_${n}-${freshSchema()}`)
      yield* Effect.addFinalizer(() =>
        Effect.forEach(schemas, (schema) => admin(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`))
      )
      const rooms = yield* Effect.forEach(
        schemas,
        (schema) => Layer.build(Layer.fresh(Postgres.layerQueue({ url, schema, tracing: false }))),
        { concurrency: "unbounded" }
      )
      yield* Effect.forEach(rooms, (room, n) =>
        Effect.provide(Jobs.enqueue(n, { id: "same", dedupe: { key: "same" } }), room)
      )
      for (const [n, room] of rooms.entries()) {
        assert.strictEqual((yield* Effect.provide(Jobs.stats, room)).ready, 1)
        const handled = yield* Effect.provide(handling(), room)
        yield* until("its own job is done", () => handled.length > 0)
        assert.deepStrictEqual(
          handled.map((one) => one.n),
          [n]
        )
      }
    })
  )

  it.live("uses a schema that is there already, beside what it holds, and with no rights over the database", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const role = yield* roleOf(admin, schema)
      yield* admin(`CREATE SCHEMA "${schema}" AUTHORIZATION "${role}"`)
      yield* admin(`CREATE TABLE "${schema}".mine (a int)`)
      yield* works({ url, schema, username: role })
      assert.include((yield* tablesOf(admin, schema))!, "mine")
    })
  )

  it.live("that fails half way changes nothing", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      yield* admin(`CREATE SCHEMA "${schema}"`)
      yield* admin(`CREATE TABLE "${schema}".dead (a int)`)
      const found = yield* refused({ url, schema })
      assert.strictEqual(found._tag, "MigrationFailed")
      assert.include(found.message, '"dead" already exists')
      assert.deepStrictEqual(yield* tablesOf(admin, schema), ["dead"])
    })
  )

  it.live("is none of the transaction that is open where the layer is built", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const client = yield* clientOf(url)
      const exit = yield* Effect.exit(
        client.withTransaction(
          Effect.andThen(Effect.scoped(Postgres.makeConnectionFrom(client, { schema })), Effect.fail("rolled back"))
        )
      )
      assert.strictEqual(exit._tag, "Failure")
      assert.include((yield* tablesOf(admin, schema))!, "meta")
    })
  )
})

describe("migrate: check", () => {
  it.live("refuses a schema that is missing or too old, says what to run, and changes nothing", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const missing = yield* refused({ url, schema, migrate: "check" })
      assert.deepInclude(missing, { _tag: "SchemaMissing", schema, found: null, needed: schemaVersion })
      assert.include(missing.message, `migrationSql({ schema: "${schema}" })`)
      assert.isUndefined(yield* tablesOf(admin, schema))
      assert.strictEqual(yield* building({ url, schema }), "built")
      yield* admin(`UPDATE "${schema}".meta SET version = 0`)
      const old = yield* refused({ url, schema, migrate: "check" })
      assert.deepInclude(old, { _tag: "SchemaMissing", found: 0 })
      assert.include(old.message, "version 0")
    })
  )

  it.live("is content with what psql makes of migrationSql", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const program = path.join(path.dirname((yield* locate("postgres"))!), "psql")
      const file = path.join(yield* temporaryFolder, "migration.sql")
      fs.writeFileSync(file, Postgres.migrationSql({ schema }))
      const { ok, output } = yield* run(program, [url, "-v", "ON_ERROR_STOP=1", "-q", "-f", file])
      assert.isTrue(ok, output)
      assert.strictEqual(yield* building({ url, schema, migrate: "check" }), "built")
      yield* works({ url, schema, migrate: "check" })
      // The same as the layer makes.
      const other = freshSchema()
      yield* Effect.addFinalizer(() => admin(`DROP SCHEMA "${other}" CASCADE`))
      assert.strictEqual(yield* building({ url, schema: other }), "built")
      const described = (name: string) =>
        admin(
          `SELECT table_name, column_name, data_type, column_default IS NULL AS bare FROM information_schema.columns
            WHERE table_schema = $1 ORDER BY 1, 2`,
          [name]
        )
      assert.deepStrictEqual(yield* described(schema), yield* described(other))
      // There is nothing to do for a schema of this version.
      assert.strictEqual(Postgres.migrationSql({ schema, from: schemaVersion }), "BEGIN;\nCOMMIT;\n")
      assert.throws(() => Postgres.migrationSql({ schema: 'a"b' }), /schema/)
    })
  )
})

describe("migrate: manual", () => {
  it.live("takes any version, and needs a schema to be there", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      assert.strictEqual((yield* refused({ url, schema, migrate: "manual" }))._tag, "SchemaMissing")
      assert.strictEqual(yield* building({ url, schema }), "built")
      yield* admin(`UPDATE "${schema}".meta SET version = 0`)
      yield* works({ url, schema, migrate: "manual" })
      assert.deepStrictEqual(yield* admin(`SELECT version FROM "${schema}".meta`), [{ version: 0 }])
    })
  )
})

describe("a schema of a later version", () => {
  it.live("is used while it says that this one may, and refused when it does not", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      assert.strictEqual(yield* building({ url, schema }), "built")
      yield* admin(`UPDATE "${schema}".meta SET version = 99`)
      for (const migrate of ["auto", "check", "manual"] as const) yield* works({ url, schema, migrate })
      yield* admin(`UPDATE "${schema}".meta SET oldest = 99`)
      for (const migrate of ["auto", "check", "manual"] as const) {
        const found = yield* refused({ url, schema, migrate })
        assert.deepInclude(found, { _tag: "NewerSchema", found: 99, needed: 99, supported: schemaVersion })
        assert.include(found.message, "Upgrade effect-seams")
      }
    })
  )
})

/** The statements that docs/postgres.md tells an administrator to run, for this schema and role. */
const grants = (schema: string, role: string): ReadonlyArray<string> => {
  const text = fs.readFileSync(new URL("../../../docs/postgres.md", import.meta.url), "utf8")
  const found = Array.from(text.matchAll(/^GRANT [^;]+;/gm), ([statement]) =>
    statement.replace(/\bseams\b/g, `"${schema}"`).replace(/\bapp\b/g, `"${role}"`)
  )
  assert.isAbove(found.length, 2)
  return found
}

describe("a role without rights to make tables", () => {
  it.live("does everything with the rights that the guide lists, and is told so without them", () =>
    Effect.gen(function* () {
      const { admin, schema, url } = yield* place
      const role = yield* roleOf(admin, schema)
      const options = { url, schema, username: role } as const
      const before = yield* refused(options)
      assert.deepInclude(before, { _tag: "NotAllowed", schema })
      assert.include(before.message, "docs/postgres.md")
      assert.isUndefined(yield* tablesOf(admin, schema))

      yield* works({ url, schema })
      // Nobody else may call the functions either.
      yield* admin(`REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA "${schema}" FROM PUBLIC`)
      for (const migrate of ["auto", "check", "manual"] as const) {
        const found = yield* refused({ ...options, migrate })
        assert.deepInclude(found, { _tag: "NotAllowed", schema }, migrate)
      }

      for (const statement of grants(schema, role)) yield* admin(statement)
      for (const migrate of ["auto", "check", "manual"] as const) yield* works({ ...options, migrate })
      yield* Effect.gen(function* () {
        yield* Jobs.pause
        yield* Jobs.resume
        yield* Jobs.enqueue(3)
        yield* Layer.build(Jobs.worker(() => Effect.fail(Queue.deadLetter("test"))))
        yield* until(
          "it is dead",
          Effect.map(Jobs.deadLetters.count, (n) => n === 1)
        )
        yield* Jobs.purge
        yield* Jobs.deadLetters.purge("all")
        // What the housekeeper calls, with all windows of old ids filled, so that there is something to empty.
        const { client, sql } = yield* Postgres.Connection
        for (const n of [0, 1, 2]) yield* admin(`INSERT INTO "${schema}".seen_${n} VALUES (1, 0, 'old')`)
        yield* client.unsafe(sql("SELECT seams.forget_ids()"))
        yield* client.unsafe(sql("SELECT seams.forget()"))
        const left = yield* admin(
          [0, 1, 2]
            .map((n) => `SELECT count(*)::int AS n FROM "${schema}".seen_${n} WHERE id = 'old'`)
            .join(" UNION ALL ")
        )
        assert.strictEqual(
          left.reduce((sum, row) => sum + (row["n"] as number), 0),
          2
        )

        yield* admin(`REVOKE ALL ON ALL TABLES IN SCHEMA "${schema}" FROM "${role}"`)
        const reason = yield* reasonOf("without rights", 2_000, Jobs.offer(4))
        assert.deepStrictEqual([reason._tag, reason.lasting, reason.isRetryable], ["Unavailable", true, false])
        assert.include(reason.message, "docs/postgres.md")
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Layer.provideMerge(Postgres.layerQueueConnected({ tracing: false }), Postgres.layerConnection(options))
        )
      )
    })
  )
})

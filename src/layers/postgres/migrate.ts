/** Makes the schema ready, whoever comes first: under an advisory lock, in one transaction. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { MigrationFailed, NewerSchema, NotAllowed, PostgresError, SchemaMissing, Unreachable } from "./errors.ts"
import { faultOf } from "./faults.ts"
import { inSchema, migrationStatements, schemaVersion } from "./schema/migrations.ts"
import { settingsOf, type Settings } from "./target.ts"

export interface Meta {
  readonly version: number
  readonly oldest: number
  readonly store: string
}

type Refused = (error: SqlError) => PostgresError

const refusedBy =
  (address: string, schema: string): Refused =>
  (error) => {
    const { code, detail, kind } = faultOf(error)
    if (code === "42501") return new PostgresError({ reason: new NotAllowed({ schema, detail: serverText(error) }) })
    return new PostgresError({
      reason: kind === "refused" ? new MigrationFailed({ schema, detail }) : new Unreachable({ address, detail })
    })
  }

const serverText = (error: SqlError): string =>
  (error.reason.cause as { readonly message?: string } | undefined)?.message ?? error.message

const readMeta = (client: PgClient, schema: string): Effect.Effect<Meta | undefined, SqlError> =>
  Effect.gen(function* () {
    const found = yield* client.unsafe<{ readonly there: boolean }>(
      "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'meta') AS there",
      [schema]
    )
    if (found[0]?.there !== true) return undefined
    const rows = yield* client.unsafe<Meta>(
      inSchema(schema, "SELECT version, oldest, store::text AS store FROM seams.meta WHERE id = 1")
    )
    return rows[0]
  })

/** What older programs cannot read, and we cannot either. */
const newer = (schema: string, { oldest, version }: Meta): PostgresError | undefined =>
  oldest > schemaVersion
    ? new PostgresError({
        reason: new NewerSchema({ schema, found: version, needed: oldest, supported: schemaVersion })
      })
    : undefined

const applying = (client: PgClient, schema: string, unlogged: boolean) =>
  client.withTransaction(
    Effect.gen(function* () {
      // The same for every schema: two that are made at once both want the same rows of the catalogue.
      yield* client.unsafe("SELECT pg_advisory_xact_lock(hashtextextended('effect-seams/migrate', 0))")
      const meta = yield* readMeta(client, schema)
      if (meta !== undefined && (meta.version >= schemaVersion || meta.oldest > schemaVersion)) return
      const found = yield* client.unsafe("SELECT FROM pg_namespace WHERE nspname = $1", [schema])
      for (const statement of migrationStatements(schema, meta?.version ?? 0, unlogged)) {
        // Also a schema that is there already could only be made with rights over the database.
        if (found.length === 0 || !statement.startsWith("CREATE SCHEMA")) yield* client.unsafe(statement)
      }
    })
  )

/** Brings the schema to the state that the settings ask for, and answers what is recorded in it. */
export const migrated = (
  client: PgClient,
  address: string,
  { migrate, schema, unlogged }: Settings
): Effect.Effect<Meta, PostgresError> =>
  Effect.gen(function* () {
    const refused = refusedBy(address, schema)
    const found = yield* Effect.mapError(readMeta(client, schema), refused)
    if (migrate === "auto" && (found?.version ?? 0) < schemaVersion)
      yield* Effect.mapError(applying(client, schema, unlogged), refused)
    const meta = migrate === "auto" ? yield* Effect.mapError(readMeta(client, schema), refused) : found
    const problem = meta === undefined ? undefined : newer(schema, meta)
    if (problem !== undefined) return yield* problem
    if (meta === undefined || (migrate !== "manual" && meta.version < schemaVersion))
      return yield* new PostgresError({
        reason: new SchemaMissing({ schema, found: meta?.version ?? null, needed: schemaVersion })
      })
    return meta
  })

/**
 * The statements that make the schema, or bring it up from a version, as one text for `psql`: for a DBA who runs them with
 * `migrate: "check"` in the program.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrationSql = (options?: {
  readonly schema?: string | undefined
  /** The version that the tables have (`SELECT version FROM seams.meta`). Default: 0, none. */
  readonly from?: number | undefined
  /** As the option of the layer; for a schema that is made. Default: false. */
  readonly unlogged?: boolean | undefined
}): string => {
  const settings = settingsOf({ schema: options?.schema })
  if (settings instanceof PostgresError) throw settings
  const statements = migrationStatements(settings.schema, options?.from ?? 0, options?.unlogged === true)
  return `BEGIN;\n${statements.map((statement) => `${statement};\n`).join("")}COMMIT;\n`
}

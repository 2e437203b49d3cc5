/**
 * Versions of the tables, forward only. A migration also records the lowest version of this library's schema that still works with the
 * result: older programs go on beside newer ones until a migration says otherwise.
 */
import { kvTables } from "./kvTables.ts"
import { kvFunctions } from "./kvFunctions.ts"
import { queueFunctions } from "./queueFunctions.ts"
import { queueTables } from "./queueTables.ts"

export interface Migration {
  readonly version: number
  /** The oldest schema version whose programs still work with tables of this version. */
  readonly oldest: number
  /** One statement each; `seams.` stands for the schema. */
  readonly statements: ReadonlyArray<string>
}

const first: Migration = {
  version: 1,
  oldest: 1,
  statements: [...kvTables, ...kvFunctions, ...queueTables, ...queueFunctions]
}

export const migrations: ReadonlyArray<Migration> = [first]

export const schemaVersion: number = migrations.at(-1)?.version ?? 0

export const quoted = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`

/** Puts a schema's name into a statement. */
export const inSchema = (schema: string, statement: string): string =>
  statement.replace(/\bseams\./g, `${quoted(schema)}.`)

const metaTable = `CREATE TABLE IF NOT EXISTS seams.meta (
  id int PRIMARY KEY CHECK (id = 1), version int NOT NULL, oldest int NOT NULL, store uuid NOT NULL DEFAULT gen_random_uuid())`

/** Statements that bring tables from a version (0: none) up to ours, for one transaction. */
export const migrationStatements = (schema: string, from: number, unlogged = false): ReadonlyArray<string> => {
  const statements =
    from === 0
      ? [
          `CREATE SCHEMA IF NOT EXISTS ${quoted(schema)}`,
          metaTable,
          "INSERT INTO seams.meta (id, version, oldest) VALUES (1, 0, 0)"
        ]
      : []
  for (const migration of migrations) {
    if (migration.version <= from) continue
    const { oldest, version } = migration
    statements.push(...migration.statements)
    statements.push(`UPDATE seams.meta SET version = ${version}, oldest = greatest(oldest, ${oldest}) WHERE id = 1`)
  }
  // What was trimmed stays known: `kv_floor` is logged.
  if (from === 0 && unlogged)
    statements.push("ALTER TABLE seams.kv SET UNLOGGED", "ALTER TABLE seams.kv_log SET UNLOGGED")
  return statements.map((statement) => inSchema(schema, statement))
}

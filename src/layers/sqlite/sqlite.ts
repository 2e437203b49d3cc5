/**
 * The one place that touches `node:sqlite`: Node, Deno and Bun have it under the same name. What is used of it is declared here,
 * so that the rest of the room does not depend on one runtime's types.
 */
import * as Effect from "effect/Effect"
import { NoSqlite, SqliteError } from "./errors.ts"

export type Parameter = null | number | bigint | string | Uint8Array

/** Parameters are a `?` each and are given in order: Node 22 binds none that has a number. */
export interface Statement {
  readonly run: (...parameters: ReadonlyArray<Parameter>) => { readonly changes: number | bigint }
  readonly get: (...parameters: ReadonlyArray<Parameter>) => unknown
  readonly all: (...parameters: ReadonlyArray<Parameter>) => ReadonlyArray<unknown>
  /** Rows as arrays: cheaper than objects. Set once, right after the statement is made. */
  readonly setReturnArrays: (on: boolean) => void
}

export interface Database {
  readonly exec: (sql: string) => void
  readonly prepare: (sql: string) => Statement
  readonly close: () => void
  readonly isTransaction: boolean
}

export type Open = (filename: string) => Database

/** Not a static import: a program that only may use this room must load on runtimes without it. */
export const loadSqlite: Effect.Effect<Open, SqliteError> = Effect.suspend(() => {
  const module = builtin()
  return module === undefined
    ? Effect.fail(new SqliteError({ reason: new NoSqlite({ runtime: runtimeName() }) }))
    : Effect.succeed((filename: string) => new module.DatabaseSync(filename) as Database)
})

const builtin = (): typeof import("node:sqlite") | undefined => {
  try {
    return process.getBuiltinModule("node:sqlite") as typeof import("node:sqlite") | undefined
  } catch {
    // Bun throws for a module it does not know.
    return undefined
  }
}

const runtimeName = (): string => {
  const versions = (globalThis as { readonly process?: { readonly versions?: Record<string, string | undefined> } })
    .process?.versions
  if (versions?.["deno"] !== undefined) return `Deno ${versions["deno"]}`
  if (versions?.["bun"] !== undefined) return `Bun ${versions["bun"]}`
  return versions?.["node"] === undefined ? "This runtime" : `Node.js ${versions["node"]}`
}

const busyCodes: ReadonlySet<number> = new Set([5, 6])

/** The primary result code of an error that came out of SQLite. Deno gives none for `exec` and for opening; then the text tells. */
export const resultCode = (error: unknown): number | undefined => {
  if (!(error instanceof Error)) return undefined
  const code = (error as { readonly errcode?: unknown }).errcode
  if (typeof code === "number") return code & 0xff
  const text = error.message
  if (text.includes("database is locked") || text.includes("table is locked")) return 5
  if (text.includes("unable to open database file")) return 14
  if (text.includes("file is not a database")) return 26
  if (text.includes("disk image is malformed")) return 11
  if (text.includes("readonly database")) return 8
  if (text.includes("database or disk is full")) return 13
  if (text.includes("disk I/O error")) return 10
  return undefined
}

export const isBusy = (error: unknown): boolean => {
  const code = resultCode(error)
  return code !== undefined && busyCodes.has(code)
}

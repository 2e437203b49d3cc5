/** What can go wrong with an open file, before Kv and Queue put it into their own words. */
import type { Database } from "./sqlite.ts"
import { resultCode } from "./sqlite.ts"

export class StoreFault {
  readonly _tag = "StoreFault"
  /**
   * `locked`, `failed`: nothing was applied. `unknown`: COMMIT itself failed, its effect is not known. `closed`: the layer's
   * scope is closed. `moved`: the open file is no longer the one at its path.
   */
  readonly kind: "locked" | "failed" | "unknown" | "closed" | "moved"
  readonly detail: string
  readonly cause: unknown
  constructor(kind: StoreFault["kind"], detail: string, cause?: unknown) {
    this.kind = kind
    this.detail = detail
    this.cause = cause
  }
  /** It does not pass by itself. */
  get lasting(): boolean {
    return this.kind === "closed" || this.kind === "moved" || lastingCodes.has(resultCode(this.cause) ?? 0)
  }
}

/** Damaged, or no database (any more). */
const lastingCodes: ReadonlySet<number> = new Set([11, 26])

/** A defect of ours (or of a test) inside a transaction, not an answer of SQLite. */
export class StoreDefect {
  readonly _tag = "StoreDefect"
  readonly cause: unknown
  constructor(cause: unknown) {
    this.cause = cause
  }
}

const details: Readonly<Record<number, string>> = {
  7: "SQLite ran out of memory",
  8: "the file became read-only; check its rights and those of its folder",
  10: "the disk reported an I/O error",
  11: "the file is damaged; restore a backup, or save what can be read with: sqlite3 FILE .recover",
  13: "the disk is full; make room",
  14: "the file cannot be opened any more; was it moved or deleted, or are there too many open files?",
  17: "another program changed the tables",
  18: "a value is larger than SQLite takes",
  26: "the file is no database any more"
}

/** `undefined`: the error did not come out of SQLite. */
export const faultOf = (error: unknown, database: Database): StoreFault | undefined => {
  const code = resultCode(error)
  if (code === undefined) {
    const state = (error as { readonly code?: unknown } | undefined)?.code
    return state === "ERR_INVALID_STATE" || !isOpen(database) ? closedFault : undefined
  }
  return new StoreFault("failed", details[code] ?? (error as Error).message, error)
}

export const closedFault: StoreFault = new StoreFault("closed", "the layer that owns the file is closed")

const isOpen = (database: Database): boolean => {
  try {
    return typeof database.isTransaction === "boolean"
  } catch {
    return false
  }
}

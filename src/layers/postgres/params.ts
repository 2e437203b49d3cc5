/**
 * Parameters with their types named: the client infers them from values, which fails for arrays with nulls, for empty ones, and for
 * numbers that are whole in one call and not in the next. And texts as PostgreSQL can hold them.
 */
import { createHash } from "node:crypto"
import * as PgTypes from "@effect/sql-pg/PgTypes"

const parameter = (oid: number, value: unknown): PgTypes.Parameter => ({
  [PgTypes.ParameterTypeId]: PgTypes.ParameterTypeId,
  oid,
  value
})

const { OID } = PgTypes

export const texts = (values: ReadonlyArray<string | null>) => parameter(OID.textArray, values)
export const ints = (values: ReadonlyArray<number>) => parameter(OID.int4Array, values)
export const bigints = (values: ReadonlyArray<bigint | null>) => parameter(OID.int8Array, values)
export const floats = (values: ReadonlyArray<number | null>) => parameter(OID.float8Array, values)
export const booleans = (values: ReadonlyArray<boolean>) => parameter(OID.boolArray, values)
export const byteas = (values: ReadonlyArray<Uint8Array | null> | null) => parameter(OID.byteaArray, values)
export const int = (value: number | null) => parameter(OID.int4, value)
export const bigint = (value: bigint | null) => parameter(OID.int8, value)
export const float = (value: number | null) => parameter(OID.float8, value)
export const text = (value: string | null) => parameter(OID.text, value)
export const bytea = (value: Uint8Array | null) => parameter(OID.bytea, value)

/** A text of PostgreSQL holds no NUL: it becomes U+0001 "0", and U+0001 itself U+0001 "1". */
export const toText = (value: string): string =>
  value.includes("\0") || value.includes("\u0001")
    ? value.replaceAll("\u0001", "\u00011").replaceAll("\0", "\u00010")
    : value

export const fromText = (value: string): string =>
  value.includes("\u0001") ? value.replaceAll("\u00010", "\0").replaceAll("\u00011", "\u0001") : value

/** A row of an index has 2,700 bytes. */
const longestKey = 1_024

/** A text that an index holds: a long one is its beginning and its hash. */
export const toKey = (value: string): string => {
  const plain = toText(value)
  // A character takes three bytes at most.
  return plain.length * 3 <= longestKey || Buffer.byteLength(plain) <= longestKey
    ? plain
    : `${plain.slice(0, 64)}\u0001h${createHash("sha256").update(plain).digest("hex")}`
}

/** A text that {@link toKey} shortened cannot be read back: it is kept elsewhere too. */
export const isShortened = (value: string): boolean => value.length > longestKey / 4 && toKey(value) !== toText(value)

/**
 * From the values of a program to what drivers keep, and back. JSON is checked before it is written: what it would lose is
 * refused with the path that holds it.
 */
import * as Option from "effect/Option"
import type { KeyPart, Packed } from "../internal/keyCodec.ts"
import { isKeyProblem, unpack } from "../internal/keyCodec.ts"
import type { Stored, StoredValue } from "./driver.ts"
import { KvError, Undecodable, Unencodable } from "./KvError.ts"
import type { Entry, Key, Value } from "./model.ts"

const maxDepth = 256

/** A key as people read it in messages, cut at 200 characters. */
export const formatKey = (key: ReadonlyArray<KeyPart>): string => {
  const text = `[${Array.from(key, formatPart).join(", ")}]`
  return text.length > 200 ? `${text.slice(0, 197)}...` : text
}

const formatPart = (part: unknown): string => {
  if (typeof part === "bigint") return `${part}n`
  if (part instanceof Uint8Array) {
    const hex = Array.from(part.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("")
    return `0x${hex}${part.length > 16 ? "..." : ""}`
  }
  return typeof part === "string" ? JSON.stringify(part) : String(part)
}

export const formatPacked = (packed: Packed): string => {
  const key = unpack(packed)
  return isKeyProblem(key) ? JSON.stringify(packed) : formatKey(key)
}

export const encodeValue = (key: Key, value: unknown): StoredValue | KvError => {
  if (value instanceof Uint8Array) return { _tag: "Bytes", bytes: new Uint8Array(value) }
  const problem = jsonProblem(value, "$", 0)
  if (problem !== undefined) return new KvError({ reason: new Unencodable({ key: formatKey(key), ...problem }) })
  return { _tag: "Json", text: JSON.stringify(value) }
}

interface JsonProblem {
  readonly path: string
  readonly detail: string
}

const typed = "use a typed collection (Kv.collection) with a schema for it"

const jsonProblem = (value: unknown, path: string, depth: number): JsonProblem | undefined => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : { path, detail: `${value} is not JSON; ${typed}` }
    case "object":
      return value === null ? undefined : objectProblem(value, path, depth)
    case "bigint":
      return { path, detail: `a bigint is not JSON; counters are written by Kv.sum, for other bigints ${typed}` }
    default:
      return { path, detail: `${typeof value} is not JSON; leave it out, or ${typed}` }
  }
}

const objectProblem = (value: object, path: string, depth: number): JsonProblem | undefined => {
  if (depth >= maxDepth)
    return { path: path.slice(0, 80), detail: `it is nested deeper than ${maxDepth} levels, or refers to itself` }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const problem = jsonProblem(value[i], `${path}[${i}]`, depth + 1)
      if (problem !== undefined) return problem
    }
    return undefined
  }
  const proto: unknown = Object.getPrototypeOf(value)
  if (proto !== null && proto !== Object.prototype && Object.getPrototypeOf(proto as object) !== null)
    return { path, detail: `${nameOf(value)} is not a plain object and would not come back as it is; ${typed}` }
  if (Object.getOwnPropertySymbols(value).length > 0)
    return { path, detail: "it has a symbol as property name, which JSON drops" }
  for (const [name, inner] of Object.entries(value)) {
    const problem = jsonProblem(inner, `${path}.${name}`, depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}

const nameOf = (value: object): string => {
  const name: unknown = value.constructor?.name
  return typeof name === "string" && name !== "" ? `an instance of ${name}` : "this object"
}

/** Bytes the value takes in a store, for limits: UTF-8 length of JSON text, length of bytes, 8 for a counter. */
export const valueSize = (value: StoredValue): number =>
  value._tag === "Json" ? utf8Length(value.text) : value._tag === "Bytes" ? value.bytes.length : 8

export const utf8Length = (text: string): number => {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x80) continue
    if (code < 0x800) bytes += 1
    else if (code >= 0xd800 && code < 0xdc00) {
      bytes += 2
      i++
    } else bytes += 2
  }
  return bytes
}

export const decodeValue = (stored: Stored): Value | KvError => {
  const { value } = stored
  if (value._tag === "Counter") return value.value
  if (value._tag === "Bytes") return value.bytes
  const parsed = parseJson(value.text)
  return parsed === undefined
    ? new KvError({ reason: new Undecodable({ key: formatPacked(stored.key), detail: "it is not JSON text" }) })
    : parsed.value
}

const parseJson = (text: string): { readonly value: Value } | undefined => {
  try {
    return { value: JSON.parse(text) as Value }
  } catch {
    return undefined
  }
}

export const decodeEntry = (stored: Stored): Entry | KvError => {
  const value = decodeValue(stored)
  if (value instanceof KvError) return value
  const key = unpack(stored.key)
  if (isKeyProblem(key))
    return new KvError({ reason: new Undecodable({ key: formatPacked(stored.key), detail: key.detail }) })
  return {
    key,
    value,
    versionstamp: stored.versionstamp,
    expiresAt: stored.expiresAt === undefined ? Option.none() : Option.some(stored.expiresAt)
  }
}

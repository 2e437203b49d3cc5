/** The protocol by hand, for what the official clients never send. */
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf"
import { create, fromBinary, toBinary } from "@bufbuild/protobuf"
import { Effect } from "effect"
import type { KeyPart } from "../../../src/internal/keyCodec.ts"
import { isKeyProblem, pack, toBytes } from "../../../src/internal/keyCodec.ts"
import {
  AtomicWriteOutputSchema,
  AtomicWriteSchema,
  SnapshotReadOutputSchema,
  SnapshotReadSchema
} from "../../../src/testing/kvConnect/datapath_pb.ts"
import { accessToken } from "./clients.ts"

export const packed = (...key: ReadonlyArray<KeyPart>): Uint8Array => {
  const result = pack(key)
  if (isKeyProblem(result)) throw new Error(result.detail)
  return toBytes(result)
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Uint8Array
  readonly text: string
}

export const post = (
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array | string,
  method = "POST"
): Effect.Effect<Answer> =>
  Effect.promise(async () => {
    const sent = method === "GET" ? {} : { body: typeof body === "string" ? body : new Uint8Array(body) }
    const response = await fetch(url, { method, headers, ...sent })
    const bytes = new Uint8Array(await response.arrayBuffer())
    return {
      status: response.status,
      headers: response.headers,
      body: bytes,
      text: new TextDecoder().decode(bytes)
    }
  })

export interface Metadata {
  readonly version: number
  readonly databaseId: string
  readonly endpoints: ReadonlyArray<{ readonly url: string; readonly consistency: string }>
  readonly token: string
  readonly expiresAt: string
}

export const exchange = (url: string, body = '{"supportedVersions":[1,2,3]}', token = accessToken) =>
  post(url, { authorization: `Bearer ${token}` }, body)

export const metadataOf = (url: string): Effect.Effect<Metadata> =>
  Effect.map(exchange(url), ({ text }) => JSON.parse(text) as Metadata)

const operations = {
  snapshot_read: [SnapshotReadSchema, SnapshotReadOutputSchema],
  atomic_write: [AtomicWriteSchema, AtomicWriteOutputSchema]
} as const

/** A client of version 3. `headers` replace its own. */
export const connect = (url: string) =>
  Effect.map(metadataOf(url), ({ databaseId, token }) => {
    const headers = {
      authorization: `Bearer ${token}`,
      "content-type": "application/x-protobuf",
      "x-denokv-version": "3",
      "x-denokv-database-id": databaseId
    }
    const send = (path: string, body: Uint8Array | string, more?: Readonly<Record<string, string>>, method?: string) =>
      post(`${url}${path}`, { ...headers, ...more }, body, method)
    const call = <In extends DescMessage, Out extends DescMessage>(
      operation: string,
      input: In,
      output: Out,
      message: MessageInitShape<In>
    ): Effect.Effect<Answer & { readonly output: MessageShape<Out> }> =>
      Effect.map(send(`/v3/${operation}`, toBinary(input, create(input, message))), (answer) => ({
        ...answer,
        output: answer.status === 200 ? fromBinary(output, answer.body) : create(output)
      }))
    return {
      headers,
      send,
      read: (message: MessageInitShape<typeof SnapshotReadSchema>) =>
        call("snapshot_read", ...operations.snapshot_read, message),
      write: (message: MessageInitShape<typeof AtomicWriteSchema>) =>
        call("atomic_write", ...operations.atomic_write, message)
    }
  })

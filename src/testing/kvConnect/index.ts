/**
 * A KV Connect server over any Kv: what Deno's `Deno.openKv("http://...")` and Node's `@deno/kv` connect to, in front of PostgreSQL, SQLite, Redis
 * or memory. It is a gateway for programs that speak Deno KV, and a server to test them with, as it fails on command.
 *
 * It runs on Node and needs the package `@bufbuild/protobuf`. `docs/kv-connect.md` has what maps to what, and the limits.
 *
 * @since 0.1.0
 */
export { InvalidOption, KvConnectError, ListenFailed } from "./KvConnectError.ts"
export type { Fault, Faults, FaultTarget, Operation, OperationCount } from "./faults.ts"
export { KvConnect, layer, layerConfig, make } from "./make.ts"
export type { Service } from "./make.ts"
export type { Options } from "./options.ts"

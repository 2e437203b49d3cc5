/** A private Redis with an append-only file, so that what it answered survives `kill` and `start`. */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Tls from "node:tls"
import { Effect } from "effect"
import { converse, run, ServerError, which } from "./machine.ts"
import type { Place, Recipe } from "./Server.ts"

const kind = "redis"

export interface RedisOptions {
  /**
   * Further settings as on the command line, such as `["--maxmemory", "20mb", "--maxmemory-policy", "noeviction"]`. They
   * win over those of the harness. The password of a `--requirepass` is in the `url` of the server.
   */
  readonly args?: ReadonlyArray<string> | undefined
  /** It listens with TLS only, under a certificate for 127.0.0.1 and localhost that is made for it. */
  readonly tls?: boolean | undefined
  /** The port of its master, or the master. */
  readonly replicaOf?: number | { readonly port: number; readonly password?: string | undefined } | undefined
}

/** What only the harness says of a Redis: how many further ports it wants, and settings that depend on its place. */
export interface RedisPlan extends RedisOptions {
  readonly otherPorts?: number | undefined
  readonly placed?: ((place: Place) => ReadonlyArray<string>) | undefined
}

/** What stands in the arguments behind the last of that name. */
export const valueOf = (args: ReadonlyArray<string>, name: string): string | undefined => {
  const at = args.lastIndexOf(name)
  return at < 0 ? undefined : args[at + 1]
}

/**
 * The arguments as a configuration file. Redis does the same with its command line, but what came from a file it can also
 * write back (CONFIG REWRITE), and so it remembers after `kill` and `start` what a sentinel made of it.
 */
export const configuration = (args: ReadonlyArray<string>): string =>
  args
    .map((arg) => (arg.startsWith("--") ? `\n${arg.slice(2)}` : ` ${JSON.stringify(arg)}`))
    .join("")
    .concat("\n")

export const certificateOf = (directory: string): string => Path.join(directory, "tls.crt")

/** Signed by itself, so the certificate is also the authority to trust. */
export const makeCertificate = Effect.fnUntraced(function* (directory: string) {
  const openssl = which("openssl")
  if (openssl === undefined) return yield* new ServerError({ kind, message: "openssl is not installed" })
  const files = ["-keyout", Path.join(directory, "tls.key"), "-out", certificateOf(directory)]
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
  const elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
  const { ok, output } = yield* run(openssl, ["req", "-x509", "-nodes", "-days", "2", ...elliptic, ...names, ...files])
  if (!ok) return yield* new ServerError({ kind, message: `openssl cannot make a certificate\n${output}` })
})

const listening = (directory: string, port: number, tls: boolean): ReadonlyArray<string> =>
  tls
    ? ["--port", "0", "--tls-port", String(port), "--tls-auth-clients", "no"].concat(
        ["--tls-cert-file", certificateOf(directory), "--tls-key-file", Path.join(directory, "tls.key")],
        ["--tls-ca-cert-file", certificateOf(directory)]
      )
    : ["--port", String(port)]

const replicating = (master: RedisOptions["replicaOf"]): ReadonlyArray<string> => {
  if (master === undefined) return []
  const { password, port } = typeof master === "number" ? { port: master, password: undefined } : master
  return ["--replicaof", "127.0.0.1", String(port), ...(password === undefined ? [] : ["--masterauth", password])]
}

/** Users made while it runs are kept in a file. It has to name the default user too, or the default user has no password. */
const keepingUsers = (directory: string, args: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (args.includes("--user") || args.includes("--aclfile")) return []
  const file = Path.join(directory, "users.acl")
  const password = valueOf(args, "--requirepass")
  Fs.writeFileSync(file, `user default on ${password === undefined ? "nopass" : `>${password}`} ~* &* +@all\n`)
  return ["--aclfile", file]
}

export const redisRecipe = (plan: RedisPlan = {}): Recipe => {
  const { args = [], tls = false } = plan
  const password = valueOf(args, "--requirepass")
  const hello = Buffer.from(password === undefined ? "PING\r\n" : `AUTH "${password}"\r\nPING\r\n`)
  const connect = tls ? (to: Net.NetConnectOpts) => Tls.connect({ ...to, rejectUnauthorized: false }) : Net.connect
  return {
    kind,
    otherPorts: plan.otherPorts ?? 0,
    prepare: Effect.fnUntraced(function* (place) {
      const { directory, port, program } = place
      if (tls) yield* makeCertificate(directory)
      const file = Path.join(directory, "redis.conf")
      const settings =
        "--bind 127.0.0.1 --daemonize no --appendonly yes --appendfsync everysec --repl-diskless-sync-delay 0"
          .split(" ")
          .concat("--dir", directory, "--save", "", listening(directory, port, tls), keepingUsers(directory, args))
          .concat(replicating(plan.replicaOf), plan.placed?.(place) ?? [], args)
      Fs.writeFileSync(file, configuration(settings))
      // Its data go with it. On SIGTERM a master waits for its replicas, and a replica that is writing its first
      // append-only file stays.
      return [{ file: program, args: [file], stop: "SIGKILL" }]
    }),
    url: (port) => `${tls ? "rediss" : "redis"}://${password === undefined ? "" : `:${password}@`}127.0.0.1:${port}`,
    probe: (port) => converse(port, hello, (reply) => reply.toString().includes("+PONG"), connect)
  }
}

export const redis: Recipe = redisRecipe()

/** Which backend each seam gets, as a function of the environment and the options. Nothing is tried here. */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { parseRabbitMq, parseRedis } from "./address/dialects.ts"
import { type Address, Problem, showEndpoint } from "./address/model.ts"
import { parseHost, parsePostgres, type PostgresAddress } from "./address/postgres.ts"
import { DiscoveryError, InvalidAddress, Unsupported } from "./errors.ts"
import type { Options } from "./options.ts"
import { addressNames, type Environment, postgresParts, providerNames, tokenName } from "./variables.ts"

/** Where a backend is. */
export type Place =
  | { readonly backend: "memory" }
  | { readonly backend: "sqlite"; readonly path: string | undefined }
  | { readonly backend: "redis"; readonly address: Address }
  | { readonly backend: "rabbitmq"; readonly address: Address }
  | { readonly backend: "postgres"; readonly address: PostgresAddress }
  | { readonly backend: "denokv"; readonly path: string; readonly token: string | undefined }

type Backend = Place["backend"]
type Server = Exclude<Backend, "memory">
export type StoreSeam = "kv" | "queue"

/** What a variable would have led to, and why it did not. */
export interface PassedOver {
  readonly source: string
  readonly reason: string
}

export interface Chosen {
  readonly place: Place
  /** The variable, or `the option "..."`, or `default`. */
  readonly source: string
  /** Without credentials. */
  readonly address: string
  readonly because: string
  readonly passedOver: ReadonlyArray<PassedOver>
}

/** In their order, where nobody names one. */
const order: Readonly<Record<StoreSeam, ReadonlyArray<Server>>> = {
  kv: ["redis", "denokv", "sqlite"],
  queue: ["rabbitmq", "redis", "denokv", "sqlite"]
}

const providers: Readonly<Record<StoreSeam, Readonly<Record<string, Backend>>>> = {
  kv: {
    redis: "redis",
    garnet: "redis",
    denokv: "denokv",
    "deno-kv": "denokv",
    sqlite: "sqlite",
    postgres: "postgres",
    memory: "memory"
  },
  queue: {
    rabbitmq: "rabbitmq",
    redis: "redis",
    garnet: "redis",
    denokv: "denokv",
    "deno-kv": "denokv",
    sqlite: "sqlite",
    postgres: "postgres",
    memory: "memory"
  }
}

export const option = (name: string): string => `the option "${name}"`

const refuse = (seam: string, source: string, detail: string) =>
  Result.fail(new DiscoveryError({ reason: new Unsupported({ seam, source, address: null, detail }) }))

const invalid = (seam: string, source: string, detail: string) =>
  Result.fail(new DiscoveryError({ reason: new InvalidAddress({ seam, source, address: null, detail }) }))

const secret = (text: string | Redacted.Redacted): string => (typeof text === "string" ? text : Redacted.value(text))

interface Named {
  readonly source: string
  readonly value: string
}

/** What somebody named, for messages. An address that was put into the wrong variable is not shown: it may hold a password. */
export const showName = (text: string): string => (/^[\w-]{1,32}$/.test(text) ? JSON.stringify(text) : "its value")

/** Who names the backend of a seam, if anybody does. */
export const providerOf = (
  seam: "kv" | "queue" | "cron",
  environment: Environment,
  options: Options
): Named | undefined => {
  const given = options[seam]
  if (given !== undefined && given !== "auto") return { source: option(seam), value: String(given) }
  const name = providerNames[seam]
  const value = environment.values.get(name)
  const named = value?.trim().toLowerCase()
  return named === undefined || named === "auto" ? undefined : { source: name, value: named }
}

/** Everything that gives an address of a technology, the one that counts first. */
const candidates = (server: Server, environment: Environment, options: Options): ReadonlyArray<Named> => {
  const found: Array<Named> = []
  const [name, given] =
    server === "sqlite" ? (["path", options.sqlite?.path] as const) : (["address", options[server]?.address] as const)
  if (given !== undefined) found.push({ source: option(`${server}.${name}`), value: secret(given) })
  for (const variable of addressNames[server]) {
    const value = environment.values.get(variable)
    if (value !== undefined) found.push({ source: variable, value })
  }
  if (server === "postgres" && postgresParts.some((part) => environment.values.has(part)))
    found.push({ source: postgresParts[0], value: "" })
  return found
}

const howToSet: Readonly<Record<Server, string>> = {
  redis: "redis://user:password@host:port/database",
  rabbitmq: "amqp://user:password@host:port/vhost",
  postgres: "postgres://user:password@host:port/database",
  denokv: "a file, or the http(s) URL of a KV Connect endpoint",
  sqlite: "a file"
}

const endpoints = (address: Address, port: number): string =>
  address.endpoints.map((one) => showEndpoint(one, port)).join(", ")

/** Credentials are shown nowhere, whatever form they came in. */
const showUrl = (text: string): string => {
  if (!URL.canParse(text)) return "an address"
  const url = new URL(text)
  return `${url.protocol}//${url.host}${url.pathname === "/" ? "" : url.pathname}`
}

export const isRemote = (text: string): boolean => /^https?:\/\//i.test(text.trim())

const partsOf = (environment: Environment): PostgresAddress | Problem => {
  const [host, port, username, password, database] = postgresParts.map((name) => environment.values.get(name))
  if (host === undefined)
    return new Problem(`it is missing, and another of ${postgresParts.join(", ")} is set; set all that are needed`)
  const endpoint = parseHost(host.trim())
  if (endpoint instanceof Problem) return new Problem("it is no name of a host; an address goes into DATABASE_URL")
  if (port !== undefined && !(/^\s*\d{1,5}\s*$/.test(port) && Number(port) > 0 && Number(port) < 65_536))
    return new Problem("POSTGRESDB_PORT is not within 1 to 65535")
  return {
    endpoint: port === undefined ? endpoint : { ...endpoint, port: Number(port) },
    username: username?.trim(),
    password,
    database: database?.trim(),
    tls: undefined
  }
}

const placeAt = (
  server: Server,
  { source, value }: Named,
  environment: Environment,
  options: Options
): { readonly place: Place; readonly address: string } | Problem => {
  switch (server) {
    case "redis": {
      const address = parseRedis(value, /^services__|_TCP$/.test(source))
      return address instanceof Problem
        ? address
        : { place: { backend: server, address }, address: endpoints(address, 6_379) }
    }
    case "rabbitmq": {
      const address = parseRabbitMq(value)
      const secure = options.rabbitmq?.tls ?? (address instanceof Problem ? false : address.tls === true)
      return address instanceof Problem
        ? address
        : {
            place: { backend: server, address },
            address: endpoints(address, secure ? 5_671 : 5_672)
          }
    }
    case "postgres": {
      const address = source === postgresParts[0] ? partsOf(environment) : parsePostgres(value)
      return address instanceof Problem
        ? address
        : { place: { backend: server, address }, address: showEndpoint(address.endpoint, 5_432) }
    }
    case "denokv": {
      const given = options.denokv?.accessToken
      const own = given === undefined ? undefined : secret(given)
      const token = own ?? environment.values.get(tokenName)?.trim()
      const path = value.trim()
      if (isRemote(path) && !URL.canParse(path)) return new Problem("it is no URL")
      if (!isRemote(path) && /^[a-z][a-z0-9+.-]*:\/\//i.test(path))
        return new Problem("its scheme is none of http:// and https://; give one of these, or a path")
      // As a path it would be a new and empty file, on this machine.
      if (!isRemote(path) && source !== "DENO_KV_PATH" && source !== option("denokv.address"))
        return new Problem("it is no URL with http:// or https://; a path goes into DENO_KV_PATH")
      if (!isRemote(path) && /^[^/\\]+:\d+$/.test(path))
        return new Problem(
          "it is a host and a port; give a URL with http:// or https://, or a path with its folder, as in ./name"
        )
      return {
        // One from the environment may be meant for another program; one from the options is a mistake, which the room names.
        place: { backend: server, path, token: isRemote(path) ? token : own },
        address: isRemote(path) ? showUrl(path) : path
      }
    }
    case "sqlite":
      if (/^\s*[a-z][a-z0-9+.-]+:\/\//i.test(value)) return new Problem("it is a URL; give the path of a file")
      return { place: { backend: server, path: value }, address: value }
  }
}

/** Which backend the key-value store or the queue gets. */
export const choose = (
  seam: StoreSeam,
  environment: Environment,
  options: Options
): Result.Result<Chosen, DiscoveryError> =>
  Result.flatMap(chooseBackend(seam, environment, options), (chosen) => {
    const { backend } = chosen.place
    return seam === "queue" && options.deadLetterRetention !== undefined && !forgetting.has(backend)
      ? refuse(
          seam,
          option("deadLetterRetention"),
          `the chosen backend, ${backend}, keeps dead letters until they are purged; leave it out, or choose ${Array.from(forgetting).join(" or ")}`
        )
      : Result.succeed(chosen)
  })

/** Backends that keep so many dead letters, or for so long. */
const forgetting: ReadonlySet<Backend> = new Set(["redis", "postgres"])

const chooseBackend = (
  seam: StoreSeam,
  environment: Environment,
  options: Options
): Result.Result<Chosen, DiscoveryError> => {
  const provider = providerOf(seam, environment, options)
  const known = Object.keys(providers[seam])
  let backend: Backend | undefined
  if (provider !== undefined) {
    if (provider.value === "bullmq")
      return refuse(
        seam,
        provider.source,
        'this version has no BullMQ backend; "redis" has a queue of its own, which needs nothing else'
      )
    backend = Object.hasOwn(providers[seam], provider.value) ? providers[seam][provider.value] : undefined
    if (backend === undefined)
      return refuse(seam, provider.source, `${showName(provider.value)} is none of ${known.join(", ")}`)
  }
  const passedOver = (winner: string, why: string): ReadonlyArray<PassedOver> => {
    const others: Array<PassedOver> = []
    const name = providerNames[seam]
    if (environment.values.has(name) && winner !== name && provider?.source !== name)
      others.push({ source: name, reason: `${option(seam)} decides` })
    for (const server of new Set<Server>([...order[seam], ...(backend === "postgres" ? (["postgres"] as const) : [])]))
      for (const { source } of candidates(server, environment, options))
        if (source !== winner) others.push({ source, reason: why })
    return others
  }
  const at = (server: Server, one: Named, because: string): Result.Result<Chosen, DiscoveryError> => {
    const placed = placeAt(server, one, environment, options)
    if (placed instanceof Problem) return invalid(seam, one.source, `it cannot be used: ${placed.detail}`)
    const why = provider === undefined ? `${one.source} comes first` : `${provider.source} names ${provider.value}`
    return Result.succeed({ ...placed, source: one.source, because, passedOver: passedOver(one.source, why) })
  }
  const embedded = (source: string, because: string): Chosen => ({
    place: { backend: "sqlite", path: undefined },
    source,
    address: ".seams/data.sqlite",
    because,
    passedOver: passedOver(source, `${source} names ${provider?.value}`)
  })

  if (provider !== undefined && backend !== undefined) {
    const because = `${provider.source} names ${provider.value}`
    if (backend === "memory")
      return Result.succeed({
        place: { backend },
        source: provider.source,
        address: "this process",
        because,
        passedOver: passedOver(provider.source, because)
      })
    const [first] = candidates(backend, environment, options)
    if (first !== undefined) return at(backend, first, `${because}, ${first.source} says where`)
    if (backend === "sqlite") return Result.succeed(embedded(provider.source, because))
    const where =
      options.autoDiscover === false
        ? `${option(`${backend}.address`)} is missing, and no variable is read (autoDiscover: false)`
        : `none of ${addressNames[backend].join(", ")}${backend === "postgres" ? `, ${postgresParts[0]}` : ""} is set`
    return invalid(seam, provider.source, `it says ${provider.value}, and ${where}; set one to ${howToSet[backend]}`)
  }
  for (const server of order[seam]) {
    const [first] = candidates(server, environment, options)
    if (first !== undefined) return at(server, first, `${first.source} is the first that is set`)
  }
  return Result.succeed(embedded("default", "nothing else is set"))
}

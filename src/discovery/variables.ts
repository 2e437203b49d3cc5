/** The variables that are looked at, in their order, and reading them once. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { mayRead, readConfig } from "../internal/environment.ts"

/** Names of addresses; of each list the first that is set counts. */
export const addressNames = {
  redis: [
    "REDIS_URI",
    "REDIS_URL",
    "GARNET_URI",
    "ConnectionStrings__redis",
    "ConnectionStrings__garnet",
    "ConnectionStrings__cache",
    "REDIS_TCP",
    "GARNET_TCP",
    "services__redis__tcp__0",
    "services__redis__http__0",
    "services__redis__0",
    "services__garnet__tcp__0",
    "services__garnet__http__0",
    "services__garnet__0"
  ],
  rabbitmq: [
    "RABBITMQ_URI",
    "RABBITMQ_URL",
    "AMQP_URL",
    "ConnectionStrings__rabbitmq",
    "ConnectionStrings__messaging",
    "services__rabbitmq__amqp__0",
    "services__rabbitmq__tcp__0",
    "services__rabbitmq__http__0",
    "services__rabbitmq__https__0"
  ],
  postgres: [
    "DATABASE_URL",
    "POSTGRES_URL",
    "POSTGRESDB_URI",
    "ConnectionStrings__postgres",
    "ConnectionStrings__postgresdb"
  ],
  denokv: ["DENO_KV_URL", "DENO_KV_PATH", "services__kv__http__0"],
  sqlite: ["SEAMS_DATA"]
} as const

/** The parts of one address; the host stands for all of them. */
export const postgresParts = [
  "POSTGRESDB_HOST",
  "POSTGRESDB_PORT",
  "POSTGRESDB_USERNAME",
  "POSTGRESDB_PASSWORD",
  "POSTGRESDB_DATABASE"
] as const

export const tokenName = "DENO_KV_ACCESS_TOKEN"

export const providerNames = { kv: "CACHE_PROVIDER", queue: "QUEUE_PROVIDER", cron: "CRON_PROVIDER" } as const

/** Every variable that discovery reads. */
export const allNames: ReadonlyArray<string> = [
  ...Object.values(providerNames),
  ...Object.values(addressNames).flat(),
  ...postgresParts,
  tokenName
]

/** What is set. An empty text counts as not set. */
export interface Environment {
  readonly values: ReadonlyMap<string, string>
  /** Under Deno: variables that may not be read, which therefore count as not set. */
  readonly denied: ReadonlyArray<string>
}

export const noEnvironment: Environment = { values: new Map(), denied: [] }

export const readEnvironment: Effect.Effect<Environment, Config.ConfigError> = Effect.gen(function* () {
  const values = new Map<string, string>()
  const denied: Array<string> = []
  for (const name of allNames) {
    if (!(yield* mayRead(name))) {
      denied.push(name)
      continue
    }
    const found = yield* readConfig(Config.option(Config.String(name)))
    if (Option.isSome(found) && found.value.trim() !== "") values.set(name, found.value)
  }
  return { values, denied }
})

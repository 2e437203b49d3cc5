import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"

const names = ["DATABASE_URL", "POSTGRES_URL", "POSTGRESDB_URI"] as const

/**
 * The address of the database, from the first of `DATABASE_URL`, `POSTGRES_URL` and `POSTGRESDB_URI` that is set. Without any the error
 * says which were looked at. PostgreSQL is never chosen by itself: a program names it.
 *
 * @since 0.1.0
 * @category config
 * @example
 * ```ts
 * import * as Postgres from "effect-seams/layers/postgres"
 *
 * export const main = Postgres.layerConfig({ url: Postgres.urlConfig })
 * ```
 */
export const urlConfig: Config.Config<Redacted.Redacted> = Config.all(
  names.map((name) => Config.option(Config.Redacted(name)))
).pipe(
  Config.flatMap((found) => {
    const first = found.find(Option.isSome)
    return first === undefined
      ? Config.fail(
          new ConfigProvider.SourceError({
            message: `no address of a PostgreSQL server: none of ${names.join(", ")} is set; set one to postgres://user:password@host:port/database`
          })
        )
      : Config.succeed(first.value)
  })
)

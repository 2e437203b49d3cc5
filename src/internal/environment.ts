/**
 * Configs where only some variables may be read. Effect's default provider copies the whole environment, which Deno refuses under
 * `--allow-env=NAMES`; there each variable is asked for by its name.
 */
import type * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { isGranted } from "./denoPermissions.ts"

const oneByOne: ConfigProvider.ConfigProvider = ConfigProvider.make((path) =>
  Effect.suspend(() => {
    const name = path.join("_")
    try {
      const value = process.env[name]
      // An empty one counts as not set, as in Effect's own provider.
      return Effect.succeed(value === undefined || value === "" ? undefined : ConfigProvider.makeValue(value))
    } catch (cause) {
      const message = `the environment variable ${name} may not be read: run Deno with --allow-env=${name}, or with --ignore-env=${name} to do without it`
      return Effect.fail(new ConfigProvider.SourceError({ message, cause }))
    }
  })
)

/** Whether the program brings values of its own, for which nothing of the environment is read. */
const hasOwn = <A, E, R>(own: Effect.Effect<A, E, R>, otherwise: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.contextWith((context) => (context.mapUnsafe.has(ConfigProvider.ConfigProvider.key) ? own : otherwise))

/** Reads a config: from the program's own provider if it has one, else from the environment. */
export const readConfig = <A>(config: Config.Config<A>): Effect.Effect<A, Config.ConfigError> =>
  hasOwn<A, Config.ConfigError, never>(
    config,
    Effect.suspend(() =>
      isGranted({ name: "env" }) ? config : Effect.provideService(config, ConfigProvider.ConfigProvider, oneByOne)
    )
  )

/** Whether a variable can be asked for without being refused. */
export const mayRead = (variable: string): Effect.Effect<boolean> =>
  hasOwn(
    Effect.succeed(true),
    Effect.sync(() => isGranted({ name: "env", variable }))
  )

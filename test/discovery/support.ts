/** What the tests of discovery against real servers share. */
import { ConfigProvider, Effect, Layer, Logger } from "effect"

/** The environment that a program sees. What it logs is not printed. */
const environment = (
  env: Readonly<Record<string, string>>,
  loggers: ReadonlyArray<Logger.Logger<unknown, void>>
): Layer.Layer<never> =>
  Layer.merge(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { PATH: "/bin", ...env } })), Logger.layer(loggers))

/** Runs a program in an environment, and beside it what it provides for itself. */
export const within =
  (env: Readonly<Record<string, string>>, ...loggers: ReadonlyArray<Logger.Logger<unknown, void>>) =>
  <A, E, R>(program: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provide(program, environment(env, loggers))

/** What a program logs. */
export const logged = Effect.sync(() => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => void lines.push(String(message)))
  return { lines, logger }
})

/** Of a server of the tests. */
export const portOf = (url: string): number => Number(new URL(url).port)

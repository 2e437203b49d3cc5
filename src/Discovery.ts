/**
 * Reads the environment and provides the right backends: `Discovery.layer` is the one line that names no technology. On a laptop, where
 * nothing is set, it is an embedded file; in production it is whatever the platform says by `REDIS_URI`, `RABBITMQ_URI`,
 * `ConnectionStrings__redis`, `CACHE_PROVIDER` and the like (docs/discovery.md has all names and forms).
 *
 * A variable that is set and cannot be used is an error that names it; discovery never goes on to another backend. Each connection is made
 * once and shared by the seams that use it. A backend's package is imported when it is chosen.
 *
 * @since 0.1.0
 */
export * from "./discovery/errors.ts"
export {
  layer,
  layerCron,
  layerCronWith,
  layerKv,
  layerKvWith,
  layerQueue,
  layerQueueWith,
  layerWith
} from "./discovery/layers.ts"
export type {
  CronProvider,
  DenoKvOptions,
  KvProvider,
  Options,
  PostgresOptions,
  QueueProvider,
  RabbitMqOptions,
  RedisOptions,
  SqliteOptions,
  TlsOptions
} from "./discovery/options.ts"
export { type Choice, type PassedOver, Report, type ReportService } from "./discovery/report.ts"

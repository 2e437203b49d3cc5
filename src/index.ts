/**
 * Key-value store, message queue and cron scheduler as Effect services: one typed contract each, every backend a Layer.
 *
 * @since 0.1.0
 */
export * as Cron from "./Cron.ts"
export * as Discovery from "./Discovery.ts"
export * as Kv from "./Kv.ts"
export * as Queue from "./Queue.ts"

/** The addresses of each technology. */
import { type Address, type Dialect, Problem } from "./model.ts"
import { parseAddress } from "./url.ts"

const redisIndex = (text: string): string | Problem =>
  /^\d{1,5}$/.test(text) ? text : new Problem("its database is no number from 0")

const redis = {
  example: "redis://user:password@host:port/database",
  schemes: {
    redis: {},
    rediss: { tls: true },
    garnet: {},
    garnets: { tls: true },
    valkey: {},
    valkeys: { tls: true },
    tcp: {}
  },
  port: 6_379,
  commaTlsPort: 6_380,
  database: redisIndex
} satisfies Dialect

/** Some variables name an endpoint by what speaks there in general. */
const redisService = { ...redis, schemes: { ...redis.schemes, http: {} } } satisfies Dialect

const rabbitmq = {
  example: "amqp://user:password@host:port/vhost",
  schemes: {
    amqp: {},
    amqps: { tls: true },
    tcp: {},
    // The management page: the broker is on the same host, at the port of AMQP.
    http: { management: true },
    https: { management: true }
  },
  commaTlsPort: 5_671,
  database: (text) => text
} satisfies Dialect

export const parseRedis = (text: string, endpoint: boolean): Address | Problem =>
  parseAddress(text, endpoint ? redisService : redis)

export const parseRabbitMq = (text: string): Address | Problem => parseAddress(text, rabbitmq)

import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { parseRabbitMq, parseRedis } from "../../src/discovery/address/dialects.ts"
import { type Address, Problem } from "../../src/discovery/address/model.ts"
import { parsePostgres } from "../../src/discovery/address/postgres.ts"
import { asAdoNet, asCommaForm, asUrl, type Parts } from "./formats.ts"

/** What people and generators put into credentials: any text, and texts made of what the forms use themselves. */
const credential = fc
  .oneof(
    fc.string({ unit: "binary", minLength: 1, maxLength: 40 }),
    fc.string({
      unit: fc.constantFrom(...`=,@/%;:"'?#[]\\ &+$!{}|<>~^\``, "é", "文", "😀", "a", "1"),
      minLength: 1,
      maxLength: 24
    }),
    fc
      .array(
        fc.constantFrom(
          ",password=",
          ",ssl=true",
          ";Host=",
          "redis://",
          ",amqp://",
          "@h:1",
          "%41",
          '""',
          "'",
          "=",
          "a"
        ),
        {
          minLength: 1,
          maxLength: 6
        }
      )
      .map((pieces) => pieces.join(""))
  )
  .filter((text) => !text.includes("\0") && !/\p{Surrogate}/u.test(text))

const host = fc.oneof(
  fc.domain(),
  fc.ipV4(),
  fc.ipV6(),
  fc.constantFrom("localhost", "redis", "my_host", "bücher.example", "::1")
)
const port = fc.integer({ min: 1, max: 65_535 })
const maybe = <A>(one: fc.Arbitrary<A>) => fc.option(one, { nil: undefined })

const partsWith = (database: fc.Arbitrary<string>): fc.Arbitrary<Parts> =>
  fc.record({ host, port, username: maybe(credential), password: maybe(credential), database: maybe(database) })

const redisParts = partsWith(fc.nat({ max: 99 }).map(String))
const rabbitParts = partsWith(credential)

const runs = { numRuns: 1_000 }

const readBack = (text: string, address: Address | Problem): Parts => {
  if (address instanceof Problem) return assert.fail(`${text} is refused: ${address.detail}`)
  const { database, endpoints, password, username } = address
  assert.lengthOf(endpoints, 1, text)
  const [{ host: found, port: at }] = endpoints
  return { host: found, port: at ?? -1, username, password, database }
}

/** The platform writes an IPv6 address in its shortest form. */
const shortest = (name: string): string => (name.includes(":") ? new URL(`x://[${name}]`).hostname.slice(1, -1) : name)

const short = (parts: Parts): Parts => ({ ...parts, host: shortest(parts.host) })

describe("what is written as an address is read back", () => {
  const redisForms: ReadonlyArray<readonly [name: string, write: (parts: Parts) => string]> = [
    ["redis://", (parts) => asUrl("redis", parts)],
    ["rediss://", (parts) => asUrl("rediss", parts)],
    ["garnet://", (parts) => asUrl("garnet", parts)],
    ["tcp://", (parts) => asUrl("tcp", parts)],
    ["REDIS://", (parts) => asUrl("REDIS", parts)],
    ["the comma form", (parts) => asCommaForm(parts)],
    ["a scheme and the comma form", (parts) => asCommaForm(parts, "garnet://")],
    ["blanks around it", (parts) => `  ${asUrl("redis", parts)}\n`]
  ]
  it.each(redisForms)("Redis: %s", (_, write) => {
    fc.assert(
      fc.property(redisParts, (parts) => {
        const text = write(parts)
        assert.deepStrictEqual(short(readBack(text, parseRedis(text, false))), short(parts), text)
      }),
      runs
    )
  })

  it("Redis: host and port alone", () => {
    fc.assert(
      fc.property(host, port, (name, at) => {
        const text = name.includes(":") ? `[${name}]:${at}` : `${name}:${at}`
        const parts = { host: name, port: at, username: undefined, password: undefined, database: undefined }
        assert.deepStrictEqual(short(readBack(text, parseRedis(text, false))), short(parts), text)
      }),
      runs
    )
  })

  it("Redis: any number of servers in one comma form", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(host, port), { minLength: 1, maxLength: 5 }), credential, (servers, password) => {
        const places = servers.map(([name, at]) => (name.includes(":") ? `[${name}]:${at}` : `${name}:${at}`))
        const [first, ...others] = servers
        const alone = asCommaForm({ host: "x", port: 1, username: undefined, password, database: undefined })
        const text = `${places.join(",")}${alone.slice("x:1".length)}`
        const address = parseRedis(text, false)
        if (address instanceof Problem) return assert.fail(`${text}: ${address.detail}`)
        assert.deepStrictEqual(
          address.endpoints.map((one) => [one.host, one.port]),
          [first!, ...others].map(([name, at]) => [name, at])
        )
        assert.strictEqual(address.password, password)
      }),
      runs
    )
  })

  const rabbitForms: ReadonlyArray<readonly [name: string, write: (parts: Parts) => string]> = [
    ["amqp://", (parts) => asUrl("amqp", parts)],
    ["amqps://", (parts) => asUrl("amqps", parts)],
    [
      "the comma form",
      (parts) => {
        const text = asCommaForm({ ...parts, database: undefined })
        return parts.database === undefined ? text : `${text},virtualHost="${parts.database.replaceAll('"', '""')}"`
      }
    ]
  ]
  it.each(rabbitForms)("RabbitMQ: %s", (_, write) => {
    fc.assert(
      fc.property(rabbitParts, (parts) => {
        const text = write(parts)
        assert.deepStrictEqual(short(readBack(text, parseRabbitMq(text))), short(parts), text)
      }),
      runs
    )
  })

  it("RabbitMQ: the nodes of one cluster as several URLs", () => {
    fc.assert(
      fc.property(rabbitParts, fc.array(fc.tuple(host, port), { maxLength: 3 }), (parts, more) => {
        const urls = [parts, ...more.map(([name, at]) => ({ ...parts, host: name, port: at }))]
        const text = urls.map((one) => asUrl("amqp", one)).join(",")
        const address = parseRabbitMq(text)
        if (address instanceof Problem) return assert.fail(`${text}: ${address.detail}`)
        assert.deepStrictEqual(
          address.endpoints.map((one) => [shortest(one.host), one.port]),
          urls.map((one) => [shortest(one.host), one.port])
        )
        assert.deepStrictEqual(
          [address.username, address.password, address.database],
          [parts.username, parts.password, parts.database]
        )
      }),
      runs
    )
  })

  it("PostgreSQL: ADO.NET", () => {
    fc.assert(
      fc.property(rabbitParts, (parts) => {
        const text = asAdoNet(parts)
        const address = parsePostgres(text)
        if (address instanceof Problem) return assert.fail(`${text}: ${address.detail}`)
        if (address.url !== undefined) return assert.fail(`${text} was taken for a URL`)
        const { database, endpoint, password, username } = address
        const found = { host: endpoint.host, port: endpoint.port ?? -1, username, password, database }
        assert.deepStrictEqual(short(found), short(parts), text)
      }),
      runs
    )
  })

  it("PostgreSQL: a URL goes on to the driver as it is", () => {
    fc.assert(
      fc.property(rabbitParts, (parts) => {
        const text = asUrl("postgres", parts)
        const address = parsePostgres(text)
        if (address instanceof Problem) return assert.fail(`${text}: ${address.detail}`)
        assert.strictEqual(address.url, text)
        assert.strictEqual(shortest(address.endpoint.host), shortest(parts.host))
        assert.strictEqual(address.endpoint.port, parts.port)
      }),
      runs
    )
  })
})

describe("a text that is refused is not shown", () => {
  /** Nine letters and digits that no message has by chance. */
  const token = fc
    .string({ unit: fc.constantFrom(..."qxzjk0123456789"), minLength: 9, maxLength: 9 })
    .map((text) => `q${text}`)
  const glue = fc.constantFrom(..."=,@/%;:\"'?#[] &\\", "://", ",ssl=", ";Host=", ",redis://", "")
  /** A password of tokens, with what may cut it in pieces between them. */
  const tricky = fc.array(fc.tuple(token, glue), { minLength: 1, maxLength: 5 })
  const forms: ReadonlyArray<(password: string) => string> = [
    (password) => `redis://:${password}@h:6379`,
    (password) => `redis://u:${password}@h:6379/0`,
    (password) => `amqp://u:${password}@h/v`,
    (password) => `postgres://u:${password}@h/d`,
    (password) => `u:${password}@h:6379`,
    (password) => `h:6379,password=${password}`,
    (password) => `h:6379,ssl=maybe,password=${password}`,
    (password) => `garnet://h:6379,password=${password}`,
    (password) => `Host=h;Password=${password};Database=d`,
    (password) => `Server=h;Pwd='${password};Nonsense=1`,
    (password) => `nonsense://u:${password}@h`,
    (password) => `amqp://u:${password}@h,amqp://v:${password}@i`
  ]
  it("under no technology, whatever its password is", () => {
    let refused = 0
    fc.assert(
      fc.property(tricky, fc.constantFrom(...forms), (pieces, write) => {
        const password = pieces.map(([text, mark]) => text + mark).join("")
        const text = write(password)
        for (const found of [
          parseRedis(text, false),
          parseRedis(text, true),
          parseRabbitMq(text),
          parsePostgres(text)
        ]) {
          if (!(found instanceof Problem)) continue
          refused++
          for (const [piece] of pieces) assert.notInclude(found.detail, piece, text)
        }
      }),
      { numRuns: 3_000 }
    )
    // Else the test looks at nothing.
    assert.isAbove(refused, 500)
  })
})

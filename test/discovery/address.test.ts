import { assert, describe, it } from "@effect/vitest"
import { parseRabbitMq, parseRedis } from "../../src/discovery/address/dialects.ts"
import { type Address, Problem } from "../../src/discovery/address/model.ts"
import { parsePostgres } from "../../src/discovery/address/postgres.ts"

/** What is left out is `undefined`; `at` is one endpoint. */
type Expected = { readonly at: string | ReadonlyArray<string> } & Partial<Omit<Address, "endpoints">>

const brief = ({ endpoints, ...rest }: Address): unknown => ({
  at: endpoints.map(({ host, port }) => `${host} ${port}`),
  ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
})

const whole = ({ at, ...rest }: Expected): unknown => ({ at: typeof at === "string" ? [at] : at, ...rest })

const read = (parse: (text: string) => Address | Problem, text: string): unknown => {
  const found = parse(text)
  return found instanceof Problem ? found.detail : brief(found)
}

/** Why a text is refused. */
const why = (parse: (text: string) => unknown, text: string): string => {
  const found = parse(text)
  return found instanceof Problem ? found.detail : assert.fail(`${text} is taken for ${JSON.stringify(found)}`)
}

type Usable = ReadonlyArray<readonly [text: string, expected: Expected]>
type Refused = ReadonlyArray<readonly [text: string, message: RegExp]>

const redis = (text: string) => parseRedis(text, false)
const endpointOfRedis = (text: string) => parseRedis(text, true)

describe("an address of Redis or Garnet is usable", () => {
  const urls: Usable = [
    ["redis://h", { at: "h 6379" }],
    ["redis://h:1", { at: "h 1" }],
    ["redis://h:6379/", { at: "h 6379" }],
    ["redis://h:6379/3", { at: "h 6379", database: "3" }],
    ["redis://:@localhost:6379/0", { at: "localhost 6379", database: "0" }],
    ["redis://u:p@h:1/0", { at: "h 1", username: "u", password: "p", database: "0" }],
    ["redis://u@h", { at: "h 6379", username: "u" }],
    ["redis://:p@h", { at: "h 6379", password: "p" }],
    ["rediss://h", { at: "h 6379", tls: true }],
    ["garnet://127.0.0.1:6379", { at: "127.0.0.1 6379" }],
    ["garnets://h", { at: "h 6379", tls: true }],
    ["valkey://h", { at: "h 6379" }],
    ["valkeys://h", { at: "h 6379", tls: true }],
    ["tcp://h:1", { at: "h 1" }],
    ["RediSS://H.example:1", { at: "H.example 1", tls: true }],
    ["  redis://h:1 \n", { at: "h 1" }],
    ["redis://[::1]:1/2", { at: "::1 1", database: "2" }],
    ["redis://[2001:db8::1]", { at: "2001:db8::1 6379" }],
    ["redis://bücher.example:1", { at: "bücher.example 1" }],
    ["redis://my_host:1", { at: "my_host 1" }]
  ]
  it.each(urls)("as a URL: %s", (text, expected) => assert.deepStrictEqual(read(redis, text), whole(expected)))

  const passwords: ReadonlyArray<readonly [written: string, password: string]> = [
    ["a=b", "a=b"],
    ["a,b", "a,b"],
    ["1,2,3", "1,2,3"],
    ["1,b=c", "1,b=c"],
    ["p@ss", "p@ss"],
    ["a;b", "a;b"],
    ["a:b", "a:b"],
    ["a%2Fb%3Fc%23d", "a/b?c#d"],
    ["100%25", "100%"],
    ["a b", "a b"],
    ["a%20b", "a b"],
    ["a+b", "a+b"],
    ['"q"', '"q"'],
    ["pä文😀", "pä文😀"],
    ["%F0%9F%98%80", "😀"],
    ["tab%09nl%0A", "tab\tnl\n"]
  ]
  it.each(passwords)("with %s in the place of a password in a URL", (written, password) =>
    assert.deepStrictEqual(read(redis, `redis://u:${written}@h:1`), whole({ at: "h 1", username: "u", password }))
  )

  const bare: Usable = [
    ["h", { at: "h 6379" }],
    ["localhost:6379", { at: "localhost 6379" }],
    ["  h:1\n", { at: "h 1" }],
    ["127.0.0.1", { at: "127.0.0.1 6379" }],
    ["::1", { at: "::1 6379" }],
    ["[::1]", { at: "::1 6379" }],
    ["[::1]:1", { at: "::1 1" }],
    ["[fe80::1%eth0]:1", { at: "fe80::1%eth0 1" }],
    ["u:p@h:1", { at: "h 1", username: "u", password: "p" }],
    ["u:1,2@h:1", { at: "h 1", username: "u", password: "1,2" }],
    [":p@h/2", { at: "h 6379", password: "p", database: "2" }]
  ]
  it.each(bare)("without a scheme: %s", (text, expected) => assert.deepStrictEqual(read(redis, text), whole(expected)))

  const commas: Usable = [
    ["h:6379,", { at: "h 6379" }],
    ["h:6379,ssl=False,password=secret", { at: "h 6379", tls: false, password: "secret" }],
    ["h,ssl=true", { at: "h 6380", tls: true }],
    ["h:1,ssl=TRUE", { at: "h 1", tls: true }],
    ["h:1,password=a/b@c==,ssl=true,user=u", { at: "h 1", password: "a/b@c==", tls: true, username: "u" }],
    ["h:1,password=a,b,c=d,ssl=true", { at: "h 1", password: "a,b,c=d", tls: true }],
    ['h:1,password="a,ssl=true"', { at: "h 1", password: "a,ssl=true" }],
    ['h:1,password="a""b"', { at: "h 1", password: 'a"b' }],
    ['h:1, password = " a " , ssl = yes', { at: "h 1", password: " a ", tls: true }],
    ["h:1, password= a b , ssl=true ", { at: "h 1", password: "a b", tls: true }],
    ['h:1,password="open', { at: "h 1", password: '"open' }],
    ["h:1,password=", { at: "h 1" }],
    ["h:1,password=a%41;'é文😀", { at: "h 1", password: "a%41;'é文😀" }],
    ["h:1,PassWord=p,User=u,DefaultDatabase=2", { at: "h 1", password: "p", username: "u", database: "2" }],
    ["h:1,database=2", { at: "h 1", database: "2" }],
    ["h:1,name=me,connectTimeout=250", { at: "h 1", clientName: "me", connectTimeout: 250 }],
    ["h:1,sslHost=other,ssl=true", { at: "h 1", servername: "other", tls: true }],
    ["a:1,b:2,[::1]:3,password=p", { at: ["a 1", "b 2", "::1 3"], password: "p" }],
    ["a:1,b", { at: ["a 1", "b 6379"] }],
    ["a:26379,b:26379,serviceName=mymaster", { at: ["a 26379", "b 26379"], sentinel: "mymaster" }],
    ["h:1,abortConnect=false,syncTimeout=5000,allowAdmin=true,keepAlive=60", { at: "h 1" }],
    [
      "cache.redis.cache.windows.net:6380,password=k3y==,ssl=True,abortConnect=False",
      { at: "cache.redis.cache.windows.net 6380", password: "k3y==", tls: true }
    ],
    ["redis://h:6379,password=abc", { at: "h 6379", password: "abc" }],
    ["garnet://h:6379,password=a/b@c==", { at: "h 6379", password: "a/b@c==" }],
    ["rediss://h:6379,password=abc", { at: "h 6379", password: "abc", tls: true }],
    ["rediss://h,ssl=true", { at: "h 6380", tls: true }],
    ["redis://h:6379/2,password=abc", { at: "h 6379", database: "2", password: "abc" }],
    ["redis://h:6379/,password=abc", { at: "h 6379", password: "abc" }],
    ["redis://h:6379,password=a,b://c", { at: "h 6379", password: "a,b://c" }],
    ["redis://a:1,b:2", { at: ["a 1", "b 2"] }],
    ["redis://a:1,redis://b:2", { at: ["a 1", "b 2"] }],
    ["redis://u:p@a:1,redis://u:p@b:2", { at: ["a 1", "b 2"], username: "u", password: "p" }]
  ]
  it.each(commas)("in the comma form: %s", (text, expected) =>
    assert.deepStrictEqual(read(redis, text), whole(expected))
  )

  const endpoints: Usable = [
    ["tcp://h:1", { at: "h 1" }],
    ["http://h:1", { at: "h 1" }],
    ["redis://h:1", { at: "h 1" }],
    ["h:1", { at: "h 1" }]
  ]
  it.each(endpoints)("where an endpoint in general is named: %s", (text, expected) =>
    assert.deepStrictEqual(read(endpointOfRedis, text), whole(expected))
  )
})

describe("an address of Redis or Garnet that cannot be used says why", () => {
  const rows: Refused = [
    ["", /names no host/],
    [":6379", /names no host/],
    ["redis://", /names no host|is no URL/],
    ["redis://:6379", /names no host|is no URL/],
    ["redis:///0", /names no host/],
    ["h:", /no port/],
    ["h:x", /no port/],
    ["h:0", /1 to 65535/],
    ["h:65536", /1 to 65535/],
    ["redis://h:0", /1 to 65535/],
    ["redis://h:65536", /is no URL; write redis:\/\/user/],
    ["redis://h:x", /is no URL/],
    ["h/0", /is no host; write host:port, or a URL/],
    ["a b", /is no host/],
    ["a:b:c", /is no host/],
    ["[::1", /is no host/],
    ["[1:2]:3", /no IPv6/],
    ["http://h:1", /scheme is http:\/\/; write redis:\/\/user/],
    ["postgres://u:p@h", /scheme is postgres:\/\//],
    ["redis://h/x", /database is no number/],
    ["redis://h/0/1", /%2F/],
    ["redis://h?a=b", /query/],
    ["redis://h#a", /fragment/],
    ["redis://:a/b@h", /%2F/],
    ["redis://:a?b@h", /%3F/],
    ["redis://:a#b@h", /%23/],
    ["redis://:100%@h", /%25/],
    ["redis://:a\tb@h", /%09/],
    ["redis://:a\nb@h", /%0A/],
    ["h:1,ssl=maybe", /ssl is neither true nor false/],
    ["h:1,pasword=p", /not known: "pasword"/],
    ["h:1,foo=bar,ssl=true", /not known: "foo"/],
    ["redis://h:1,foo=bar", /not known: "foo"/],
    ["h:1,defaultDatabase=x", /database is no number/],
    ["h:1,connectTimeout=soon", /connectTimeout/],
    ["h:1,connectTimeout=0", /connectTimeout/],
    ["h:1;password=p", /no port|no host/],
    ["password=p,h:1", /no host/],
    ["rediss://h:1,ssl=false", /scheme says TLS and its ssl says none/],
    ["redis://u:p@a,redis://u:q@b", /different credentials/],
    ["redis://a/0,redis://b/1", /different paths/],
    ["redis://a,rediss://b", /secure/],
    ["redis://a,mysql://b", /scheme that is not known/]
  ]
  it.each(rows)("%s", (text, message) => assert.match(why(redis, text), message))

  it("where an endpoint in general is named: https://h:1", () =>
    assert.match(why(endpointOfRedis, "https://h:1"), /scheme is https:\/\//))
})

describe("an address of RabbitMQ", () => {
  const rows: Usable = [
    ["amqp://h", { at: "h undefined" }],
    ["amqp://h/", { at: "h undefined" }],
    ["amqp://h:1/v", { at: "h 1", database: "v" }],
    ["amqp://h/%2F", { at: "h undefined", database: "/" }],
    ["amqp://h/a%2Fb", { at: "h undefined", database: "a/b" }],
    ["amqps://u:p%40@h:1/v", { at: "h 1", username: "u", password: "p@", database: "v", tls: true }],
    ["tcp://h:1", { at: "h 1" }],
    ["h", { at: "h undefined" }],
    ["h:5672", { at: "h 5672" }],
    ["[::1]:1", { at: "::1 1" }],
    ["u:p@h:1", { at: "h 1", username: "u", password: "p" }],
    ["http://h:15672", { at: "h undefined" }],
    ["https://u:p@h:15671/api/", { at: "h undefined", username: "u", password: "p" }],
    ["http://h/", { at: "h undefined" }],
    ["amqp://a,amqp://b:1", { at: ["a undefined", "b 1"] }],
    [
      "amqp://u:p@a/v,amqp://u:p@b/v",
      { at: ["a undefined", "b undefined"], username: "u", password: "p", database: "v" }
    ],
    ["a:1,b:2,user=u,password=p,virtualHost=/", { at: ["a 1", "b 2"], username: "u", password: "p", database: "/" }],
    ["h,ssl=true", { at: "h 5671", tls: true }]
  ]
  it.each(rows)("is usable: %s", (text, expected) => assert.deepStrictEqual(read(parseRabbitMq, text), whole(expected)))

  const bad: Refused = [
    ["redis://h", /scheme is redis:\/\/; write amqp:\/\/user/],
    ["amqp://h/a/b", /%2F/],
    ["amqp://h//", /%2F/],
    ["amqp://h?heartbeat=1", /query/],
    ["amqp://u:p@a,amqp://x:y@b", /different credentials/],
    ["amqp://a/v,amqp://b/w", /different paths/],
    ["amqp://a,amqps://b", /secure/]
  ]
  it.each(bad)("that cannot be used says why: %s", (text, message) => assert.match(why(parseRabbitMq, text), message))
})

describe("an address of PostgreSQL", () => {
  const readPostgres = (text: string): unknown => {
    const found = parsePostgres(text)
    if (found instanceof Problem) return found.detail
    const { endpoint, url, ...rest } = found
    return {
      at: `${endpoint.host} ${endpoint.port}`,
      ...(url === undefined ? {} : { url }),
      ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
    }
  }
  it.each([
    ["postgres://u:p@h:1/d", "h 1"],
    ["postgresql://h/d", "h undefined"],
    ["postgres://h/d?sslmode=require", "h undefined"],
    ["postgres://u:p@h:1/d?application_name=a@b/c", "h 1"],
    ["postgres://u:p%2F%40@[::1]:1/d", "::1 1"],
    ["postgres://?host=/run/postgresql&port=2", "/run/postgresql 2"],
    ["postgres://?host=h&port=2", "h 2"],
    [" postgres://h ", "h undefined"]
  ])("is usable as a URL: %s", (text, at) => assert.deepStrictEqual(readPostgres(text), { at, url: text.trim() }))

  it.each<[string, unknown]>([
    ["h", { at: "h undefined" }],
    ["h:1", { at: "h 1" }],
    ["[::1]:1", { at: "::1 1" }],
    ["tcp://h:1", { at: "h 1" }],
    ["/run/postgresql", { at: "/run/postgresql undefined" }],
    ["Host=h;Port=1;Username=u;Password=p;Database=d", { at: "h 1", username: "u", password: "p", database: "d" }],
    ["Server=h;User Id=u;Pwd=p;Initial Catalog=d;", { at: "h undefined", username: "u", password: "p", database: "d" }],
    ["Data Source=h;UID=u;PSW=p;DB=d", { at: "h undefined", username: "u", password: "p", database: "d" }],
    ["host = h ; user = u ; password = p", { at: "h undefined", username: "u", password: "p" }],
    ["User Name=u;Host=h;Password=a=b==", { at: "h undefined", username: "u", password: "a=b==" }],
    ["Host=h;Password='a;b=c'", { at: "h undefined", password: "a;b=c" }],
    ['Host=h;Password="a;""b"""; Database=d', { at: "h undefined", password: 'a;"b"', database: "d" }],
    ["Host=h;Password=it's@/%,é文😀", { at: "h undefined", password: "it's@/%,é文😀" }],
    ['Host=h;Password= " p " ', { at: "h undefined", password: " p " }],
    ["Host=h:1", { at: "h 1" }],
    ["Host=::1;Port=1", { at: "::1 1" }],
    ["Host=/run/postgresql;Database=d", { at: "/run/postgresql undefined", database: "d" }],
    ["Host=h;SSL Mode=Require", { at: "h undefined", tls: true }],
    ["Host=h;SslMode=VerifyFull", { at: "h undefined", tls: true }],
    ["Host=h;SSL Mode=verify-ca", { at: "h undefined", tls: true }],
    ["Host=h;SSL Mode=Prefer", { at: "h undefined", tls: false }],
    ["Host=h;Application Name=me;Timeout=3", { at: "h undefined", applicationName: "me", connectTimeout: 3 }],
    [
      "Host=h;Pooling=true;Maximum Pool Size=20;Command Timeout=30;Include Error Detail=true;Trust Server Certificate=true",
      { at: "h undefined" }
    ]
  ])("is usable in the form of ADO.NET, or as a host: %s", (text, expected) =>
    assert.deepStrictEqual(readPostgres(text), expected)
  )

  const bad: Refused = [
    ["mysql://u:p@h", /scheme is mysql:\/\/; write postgres:\/\/user/],
    ["postgres://h:x/d", /is no URL/],
    ["postgres://a:1,b:2/d", /is no URL/],
    ["postgres://u:12/34@h/d", /%2F/],
    ["postgres://u:a\tb@h/d", /%09/],
    ["postgres://%zz/d", /is no URL|percent/],
    ["h:x", /no port/],
    ["", /names no host/],
    ["Username=u;Password=p", /names no host/],
    ["Host=;Username=u", /names no host/],
    ["Host=a,b", /several hosts/],
    ["Host=a b", /is no host/],
    ["Host=h;Port=x", /Port is not within/],
    ["Host=h;Port=70000", /Port is not within/],
    ["Host=h;SSL Mode=maybe", /SSL Mode is none of/],
    ["Host=h;Timeout=x", /Timeout is no number/],
    ["Host=h;Nonsense=1;Password=p", /option "Nonsense" means nothing/i],
    ["Host=h;Password=a;b", /put a value with a ; into quotes/],
    ["Host=h;Password=a;b=c", /put a password with a ; into quotes/]
  ]
  it.each(bad)("that cannot be used says why: %s", (text, message) => assert.match(why(parsePostgres, text), message))
})

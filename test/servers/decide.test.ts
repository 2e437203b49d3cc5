import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  decide,
  type Decision,
  type Facts,
  formatRecord,
  isAlive,
  isPortTaken,
  type Kind,
  kinds,
  newestFirst,
  parseRecord,
  startTimeOf,
  variableOf
} from "./decide.ts"
import { freePorts, portRange } from "./machine.ts"
import { isReady } from "./postgres.ts"

const bare: Facts = { given: undefined, program: undefined, root: false, apt: false, docker: false }

describe("where a server comes from", () => {
  const rows: ReadonlyArray<readonly [string, Partial<Facts>, Decision["_tag"]]> = [
    [
      "a given address wins over an installed server",
      { given: "redis://x", program: "/bin/x", root: true, apt: true },
      "Given"
    ],
    ["an empty address is no address", { given: "", program: "/bin/x" }, "Start"],
    [
      "an installed server wins over apt and docker",
      { program: "/bin/x", root: true, apt: true, docker: true },
      "Start"
    ],
    ["root with apt installs", { root: true, apt: true, docker: true }, "Install"],
    ["apt without root falls to docker", { apt: true, docker: true }, "Compose"],
    ["root without apt falls to docker", { root: true, docker: true }, "Compose"],
    ["apt without root and without docker refuses", { apt: true }, "Refuse"],
    ["nothing at all refuses", {}, "Refuse"]
  ]

  it.each(rows)("%s", (_, facts, expected) => {
    for (const kind of kinds) assert.strictEqual(decide(kind, { ...bare, ...facts })._tag, expected)
  })

  it("installs what Debian calls the server", () => {
    const packages = kinds.map((kind) => decide(kind, { ...bare, root: true, apt: true }))
    assert.deepStrictEqual(packages, [
      { _tag: "Install", packages: ["redis-server"] },
      { _tag: "Install", packages: ["postgresql"] },
      { _tag: "Install", packages: ["rabbitmq-server"] }
    ])
  })

  const messages: ReadonlyArray<readonly [Kind, Partial<Facts>, string]> = [
    ["postgres", { apt: true }, "sudo apt-get update && sudo apt-get install -y --no-install-recommends postgresql"],
    ["redis", {}, "docker compose up --detach --wait redis"],
    ["rabbitmq", {}, "SEAMS_TEST_RABBITMQ_URL=amqp://"]
  ]

  it.each(messages)("a refusal for %s with %j names the exact command", (kind, facts, command) => {
    const decision = decide(kind, { ...bare, ...facts })
    assert.include(decision._tag === "Refuse" ? decision.message : "", command)
  })

  it("each kind has a variable of its own", () => {
    assert.deepStrictEqual(kinds.map(variableOf), [
      "SEAMS_TEST_REDIS_URL",
      "SEAMS_TEST_POSTGRES_URL",
      "SEAMS_TEST_RABBITMQ_URL"
    ])
  })

  it("the newest PostgreSQL is preferred, by number and not by letter", () => {
    assert.deepStrictEqual(newestFirst(["9.6", "15", "common", "17", "10"]), ["17", "15", "10", "9.6"])
  })
})

describe("which process is meant", () => {
  const stat = (name: string, state: string): string =>
    `42 (${name}) ${state} 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1`

  it("reads the start time behind any program name", () => {
    assert.strictEqual(startTimeOf(stat("redis-server", "S")), "987654")
    assert.strictEqual(startTimeOf(stat("a) R (b) 1 2 3", "S")), "987654")
  })

  it("takes a process that waits to be collected as gone", () => {
    assert.isUndefined(startTimeOf(stat("redis-server", "Z")))
  })

  it("keeps a record through its text", () => {
    const record = { pid: 42, identity: "Sun Nov 22 05:12:03 2026" }
    assert.deepStrictEqual(parseRecord(`${formatRecord(record)}\n`), record)
  })

  it.each(["", "42", "x y", "-1 5"])("does not take %j for a record", (line) => {
    assert.isUndefined(parseRecord(line))
  })

  it("does not take a later process with the same pid for the recorded one", () => {
    const now = (pid: number) => (pid === 42 ? "987654" : undefined)
    assert.isTrue(isAlive({ pid: 42, identity: "987654" }, now))
    assert.isFalse(isAlive({ pid: 42, identity: "123456" }, now))
    assert.isFalse(isAlive({ pid: 43, identity: "987654" }, now))
  })
})

describe("what a server said", () => {
  it.each([
    "# Warning: Could not create server TCP listening socket 127.0.0.1:1: bind: Address already in use",
    "FATAL:  could not create any TCP/IP sockets",
    "{could_not_start_tcp_listener,{127,0,0,1},eaddrinuse}"
  ])("%s: the port is taken", (log) => {
    assert.isTrue(isPortTaken(log))
  })

  it("any other end is not a matter of ports", () => {
    assert.isFalse(isPortTaken("FATAL:  data directory has wrong ownership"))
  })

  const message = (type: string, body: ReadonlyArray<number>): Buffer => {
    const head = Buffer.alloc(5)
    head.write(type, 0, "latin1")
    head.writeInt32BE(4 + body.length, 1)
    return Buffer.concat([head, Buffer.from(body)])
  }

  it("PostgreSQL is ready at ReadyForQuery, not at a Z inside another message", () => {
    const accepted = message("R", [0, 0, 0, 0])
    assert.isTrue(isReady(Buffer.concat([accepted, message("Z", [0x49])])))
    assert.isFalse(isReady(Buffer.concat([accepted, message("S", [0x5a, 0x5a])])))
    assert.isFalse(isReady(accepted.subarray(0, 3)))
  })
})

describe("free ports", () => {
  it.live("are as many as asked for, all different, and none that an outgoing connection could take", () =>
    Effect.gen(function* () {
      const ports = yield* freePorts(20)
      assert.strictEqual(new Set(ports).size, 20)
      for (const port of ports) {
        assert.isAtLeast(port, portRange.from)
        assert.isBelow(port, 32_768, "the first port that Linux gives to an outgoing connection")
      }
    })
  )
})

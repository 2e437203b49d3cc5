import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import { makeTokens } from "../../../src/testing/kvConnect/tokens.ts"

const secrets = (...texts: ReadonlyArray<string>) => texts.map((text) => Redacted.make(text))
const database = "6b1f6a1c-8d54-4a0e-9f5e-2f5a3f1d7c11"
const hour = 3_600_000

const issued = (tokens: ReturnType<typeof makeTokens>, secret: string, now: number): string => {
  const token = tokens.issue(`Bearer ${secret}`, now)
  assert.isDefined(token)
  return `Bearer ${token.token}`
}

describe("a data token", () => {
  const tokens = makeTokens(secrets("first-secret", "second-secret"), database, hour)

  it("is given for every access token on the list, and for no other", () => {
    assert.strictEqual(tokens.issue("Bearer first-secret", 5)?.expiresAt, 5 + hour)
    assert.isDefined(tokens.issue("bearer second-secret", 5))
    for (const other of [
      undefined,
      "",
      "first-secret",
      "Bearer",
      "Bearer ",
      "Bearer first",
      "Bearer first-secret2",
      "Basic first-secret"
    ])
      assert.isUndefined(tokens.issue(other, 5), other)
  })

  it("is good until its time is over", () => {
    const token = issued(tokens, "second-secret", 1_000)
    assert.isUndefined(tokens.refuse(token, 1_000))
    assert.isUndefined(tokens.refuse(token, 999 + hour))
    assert.match(tokens.refuse(token, 1_000 + hour) ?? "", /has expired/)
    // Also when it was found good before.
    assert.isUndefined(tokens.refuse(token, 2_000))
  })

  it("cannot be made longer, or made up", () => {
    const token = issued(tokens, "first-secret", 0)
    const [generation, , signature] = token.split(".")
    for (const forged of [
      `${generation}.${9 * hour}.${signature}`,
      `${generation}.${hour}`,
      `${generation}.${hour}.`,
      `${generation}.${hour}.${signature}.x`.replace(signature!, "AAAA"),
      "Bearer first-secret",
      "Bearer a.b.c"
    ])
      assert.match(tokens.refuse(forged, 1) ?? "", /not valid/, forged)
    assert.match(tokens.refuse(undefined, 1) ?? "", /no data token/)
  })

  it("holds at another server with the same access token over the same database, and at no other", () => {
    const token = issued(tokens, "first-secret", 0)
    assert.isUndefined(makeTokens(secrets("other-secret", "first-secret"), database, 1).refuse(token, 1))
    assert.match(makeTokens(secrets("second-secret"), database, hour).refuse(token, 1) ?? "", /not valid/)
    const elsewhere = "6b1f6a1c-8d54-4a0e-9f5e-2f5a3f1d7c12"
    assert.match(makeTokens(secrets("first-secret"), elsewhere, hour).refuse(token, 1) ?? "", /not valid/)
  })

  it("is over on command, and the next one is good", () => {
    const one = makeTokens(secrets("first-secret"), database, hour)
    const before = issued(one, "first-secret", 0)
    assert.isUndefined(one.refuse(before, 1))
    one.expireAll()
    assert.match(one.refuse(before, 1) ?? "", /has expired/)
    assert.isUndefined(one.refuse(issued(one, "first-secret", 0), 1))
  })

  it("is checked the same when more came than are remembered", () => {
    const one = makeTokens(secrets("first-secret"), database, hour)
    const all = Array.from({ length: 2_500 }, (_, i) => issued(one, "first-secret", i))
    for (const token of all) assert.isUndefined(one.refuse(token, 3_000))
    for (const token of all) assert.match(one.refuse(token, 4_000 + hour) ?? "", /has expired/)
  })
})

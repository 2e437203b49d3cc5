import { assert, describe, it } from "@effect/vitest"
import { faultOf } from "../../../src/layers/redis/faults.ts"

const replyError = (message: string) => Object.assign(new Error(message), { name: "ReplyError" })

describe("an error of the server is told by its code", () => {
  it.each([
    ["OOM command not allowed when used memory > 'maxmemory'. script: 0a, on @user_script:1.", "OOM", false],
    ["READONLY You can't write against a read only replica.", "READONLY", false],
    ["NOPERM this user has no permissions to run the 'get' command", "NOPERM", true],
    ["ERR The user executing the script can't run this command or subcommand script: 0a", "NOPERM", true],
    ["ERR wrong number of arguments for 'mget' command", "ERR", true],
    // Redis 5 and 6 wrap what a script met.
    [
      "ERR Error running script (call to f_0a1b): @user_script:12: @user_script: 12: -OOM command not allowed when used memory > 'maxmemory'.",
      "OOM",
      false
    ],
    [
      "ERR Error running script (call to f_0a1b): @user_script:3: -READONLY You can't write against a read only replica.",
      "READONLY",
      false
    ]
  ])("%s", (message, code, lasting) => {
    const fault = faultOf(replyError(message), true)
    assert.deepStrictEqual([fault.kind, fault.code, fault.lasting], ["refused", code, lasting])
  })

  it("and one of the client by whether the command had been handed over", () => {
    assert.strictEqual(faultOf(new Error("Connection is closed."), true).kind, "unknown")
    assert.strictEqual(faultOf(new Error("Connection is closed."), false).kind, "unsent")
  })
})

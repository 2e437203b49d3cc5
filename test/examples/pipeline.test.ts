/**
 * The pipeline as its user meets it: a program on a folder, killed, restarted, stopped, given bad arguments.
 *
 * `SEAMS_SOAK=1` runs the longer form of the kills: ten, over a real tree (`SEAMS_SOAK_FOLDER`, default /usr/include).
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope, Stream } from "effect"
import { execFile, spawn } from "node:child_process"
import * as crypto from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { type Measure, readTotals, Results } from "../../examples/pipeline/model.ts"
import * as Sqlite from "../../src/layers/sqlite/index.ts"

const main = path.resolve(import.meta.dirname, "../../examples/pipeline/main.ts")
const soak = process.env["SEAMS_SOAK"] === "1"

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

/** A pipeline under way. It is killed at the end of the test if it still runs. */
const start = (args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] })
      let out = ""
      let err = ""
      child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text))
      child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text))
      const closed = new Promise<Ended>((resolve) =>
        child.once("close", (code, signal) => resolve({ code, signal, out, err }))
      )
      const ended = Effect.promise(() => closed)
      /** Waits for something that must happen while it runs. */
      const during = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.raceFirst(
          effect,
          Effect.flatMap(ended, () => Effect.die(new Error(`it ended too early:\n${out}${err}`)))
        )
      return {
        ended,
        during,
        kill: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal)),
        /** Waits for a text on standard output. */
        says: (text: RegExp) =>
          during(
            Effect.gen(function* () {
              while (!text.test(out)) yield* Effect.sleep("20 millis")
            })
          )
      }
    }),
    (child) => Effect.andThen(child.kill("SIGKILL"), child.ended)
  )

const run = (...args: ReadonlyArray<string>) => Effect.flatMap(start(args), (child) => child.ended)

const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "seams-pipeline-")))),
  (made) => Effect.sync(() => fs.rmSync(made, { recursive: true, force: true }))
)

/** A folder to count and a file to keep the data in. */
const place = Effect.map(folder, (base) => {
  const root = path.join(base, "tree")
  fs.mkdirSync(root)
  const write = (name: string, text: string | Uint8Array) => {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), text)
  }
  return { root, write, data: path.join(base, "data.db"), trace: path.join(base, "trace.jsonl") }
})

type Numbers = Record<Measure, number>

/** The same numbers, found out in another way. */
const measure = (bytes: Buffer): Numbers => {
  const text = bytes.toString("latin1")
  return {
    files: 1,
    bytes: bytes.length,
    lines: text.split("\n").length - 1,
    words: text.split(/[\t-\r ]+/).filter((word) => word !== "").length,
    links: (text.match(/https?:\/\/(?=[A-Za-z0-9[\x80-\xff])/g) ?? []).length
  }
}
const add = (a: Numbers, b: Numbers): Numbers =>
  Object.fromEntries(Object.entries(a).map(([key, n]) => [key, n + b[key as Measure]])) as Numbers
const nothing: Numbers = { files: 0, bytes: 0, lines: 0, words: 0, links: 0 }

/** Every file below a folder; links that lead to files too, as the pipeline does. */
const filesBelow = (root: string): ReadonlyArray<string> =>
  fs.readdirSync(root, { withFileTypes: true }).flatMap((entry) => {
    const one = path.join(root, entry.name)
    if (entry.isDirectory()) return filesBelow(one)
    return fs.statSync(one, { throwIfNoEntry: false })?.isFile() === true ? [one] : []
  })
const measureAll = (root: string): Numbers =>
  filesBelow(root).reduce((sum, file) => add(sum, measure(fs.readFileSync(file))), nothing)

/** The three columns of the table at the end. */
const table = ({ out }: Ended) => {
  const columns: [Numbers, Numbers, Numbers] = [{ ...nothing }, { ...nothing }, { ...nothing }]
  for (const [, name, ...cells] of out.matchAll(
    /^ {2}(files|bytes|lines|words|links) +([\d,]+) +([\d,]+) +([\d,]+)$/gm
  ))
    for (const [i, cell] of cells.entries()) columns[i]![name as Measure] = Number(cell.replaceAll(",", ""))
  return { now: columns[0], in: columns[1], out: columns[2] }
}

/** What the store says, read by this process beside the pipeline's. */
const stored = <A, E, R>(data: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Sqlite.layer({ filename: data }))

/** Waits until so many files are counted in, and answers how many it saw. The file is made by the pipeline. */
const counted = (root: string, data: string, files: number) =>
  Effect.gen(function* () {
    while (!fs.existsSync(data)) yield* Effect.sleep("5 millis")
    return yield* stored(
      data,
      Effect.gen(function* () {
        while (true) {
          const { files: total } = yield* readTotals(root)
          if (Number(total.in) >= files) return Number(total.in)
          yield* Effect.sleep("5 millis")
        }
      })
    )
  })

const manyFiles = (write: (name: string, text: string) => void, n: number) => {
  for (let i = 0; i < n; i++)
    write(`${i % 13}/${i % 7}/file ${i}.txt`, `file ${i}\n${"word ".repeat(i % 50)}\nsee https://example.com/${i}\n`)
}

describe("the pipeline counts a folder", () => {
  it.live("exactly, and the second time finds nothing new", () =>
    Effect.gen(function* () {
      const { data, root, write } = yield* place
      write("a.txt", "one two\nthree http://a.example and https://b.example/x\n")
      write("deep/er/b.bin", Buffer.from([0, 255, 10, 32, 200, 13, 0]))
      write("deep.txt", "sorts between deep/ and its neighbours")
      write("empty", "")
      write("ünïcode 文.txt", "ä ö ü\n")
      write("large", `${"word https://example.com/\n".repeat(40_000)}`)
      fs.symlinkSync("a.txt", path.join(root, "link.txt"))
      fs.symlinkSync("deep", path.join(root, "folder link"))
      const expected = measureAll(root)

      const first = yield* run(root, "--once", "--data", data)
      assert.strictEqual(first.code, 0, first.err)
      assert.deepStrictEqual(table(first), { now: expected, in: expected, out: nothing })
      assert.include(first.out, `Data is kept in ${data}`)
      assert.notInclude(first.out, "\x1b", "no terminal, no escape sequences")

      const hash = yield* stored(data, Results.get([root, "large"]))
      assert.strictEqual(
        hash._tag === "Some" ? hash.value.value.statistics.sha256 : "",
        crypto
          .createHash("sha256")
          .update(fs.readFileSync(path.join(root, "large")))
          .digest("hex")
      )

      const second = yield* run(root, "--once", "--data", data)
      assert.deepStrictEqual(table(second), table(first))
      assert.include(second.out, "0 counted and 0 removed by this run")
    })
  )

  it.live("again when files change, come back or go away", () =>
    Effect.gen(function* () {
      const { data, root, write } = yield* place
      const args = [root, "--once", "--data", data]
      for (const name of ["a", "b", "c", "gone/1", "gone/2"]) write(name, `${name} before\n`)
      let versions = measureAll(root)
      yield* run(...args)

      const original = fs.statSync(path.join(root, "b"))
      write("b", "b after, longer http://b.example\n")
      fs.rmSync(path.join(root, "gone"), { recursive: true })
      write("d", "new\n")
      versions = add(versions, add(measure(fs.readFileSync(path.join(root, "b"))), measure(Buffer.from("new\n"))))
      const second = yield* run(...args)
      assert.deepStrictEqual(table(second).now, measureAll(root))
      assert.deepStrictEqual(table(second).in, versions, "every version is counted in once")
      assert.include(second.out, "2 counted and 2 removed by this run")

      // The very version that was counted first, within the window in which the queue remembers it.
      write("b", "b before\n")
      fs.utimesSync(path.join(root, "b"), original.atime, original.mtime)
      write("gone/1", "gone/1 before\n")
      const third = yield* run(...args)
      assert.deepStrictEqual(table(third).now, measureAll(root))
    })
  )

  it.live("while another process counts the same folder into the same file", () =>
    Effect.gen(function* () {
      const { data, root, write } = yield* place
      manyFiles(write, 400)
      const expected = measureAll(root)
      const both = yield* Effect.all([run(root, "--once", "--data", data), run(root, "--once", "--data", data)], {
        concurrency: 2
      })
      for (const one of both) assert.strictEqual(one.code, 0, one.err)
      const last = yield* run(root, "--once", "--data", data)
      assert.deepStrictEqual(table(last), { now: expected, in: expected, out: nothing })
      assert.include(last.out, "0 counted and 0 removed by this run")
    })
  )

  it.live("as one trace, from the scan through the queue to the worker", () =>
    Effect.gen(function* () {
      const { data, root, trace, write } = yield* place
      for (const name of ["a", "b", "c"]) write(name, name)
      yield* run(root, "--once", "--data", data, "--trace", trace)
      const spans = fs
        .readFileSync(trace, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { name: string; traceId: string; spanId: string; parentId: string | null })
      const named = (name: string) => spans.filter((span) => span.name === name)
      const [scan] = named("run scan")
      const [publish] = named("publish pipeline-files")
      const handled = named("process pipeline-files")
      assert.strictEqual(handled.length, 3)
      for (const one of [publish, ...handled, ...named("count file")]) assert.strictEqual(one?.traceId, scan?.traceId)
      for (const one of handled) assert.strictEqual(one.parentId, publish?.spanId)
    })
  )
})

/**
 * Kills the pipeline when it has counted some share of the files, again and again, and lets the last one finish. Answers how
 * many were counted at each kill.
 */
const killAndFinish = (root: string, data: string, files: number, kills: number) =>
  Effect.gen(function* () {
    const at: Array<number> = []
    for (let i = 0; i < kills; i++) {
      const goal = Math.floor((files * (i + Math.random())) / (kills + 1))
      const child = yield* start([root, "--once", "--data", data])
      at.push(yield* child.during(counted(root, data, goal)))
      yield* child.kill("SIGKILL")
      const ended = yield* child.ended
      assert.strictEqual(ended.signal, "SIGKILL", `kill ${i + 1} came too late: ${ended.out}${ended.err}`)
    }
    return { at, last: yield* run(root, "--once", "--data", data) }
  })

describe("the pipeline killed half-way", () => {
  it.live(
    "counts every file exactly once",
    () =>
      Effect.gen(function* () {
        const made = yield* place
        const root = soak ? (process.env["SEAMS_SOAK_FOLDER"] ?? "/usr/include") : made.root
        if (!soak) manyFiles(made.write, 1_500)
        const expected = measureAll(root)
        const { at, last } = yield* killAndFinish(root, made.data, expected.files, soak ? 10 : 3)
        assert.strictEqual(last.code, 0, last.err)
        assert.deepStrictEqual(table(last), { now: expected, in: expected, out: nothing })
        assert.isAtLeast(at.filter((files) => files < expected.files).length, 2, "the kills came half-way")
        const results = yield* stored(made.data, Stream.runCount(Results.list({ under: [root] })))
        assert.strictEqual(results, expected.files)
        if (soak) yield* Effect.log(`killed at ${at.join(", ")} of ${expected.files} files`)
      }),
    soak ? 900_000 : 60_000
  )
})

describe("a file that cannot be read", () => {
  it.live("ends as a dead letter with its path and reason, and is tried again with --requeue", () =>
    Effect.gen(function* () {
      const { data, root, write } = yield* place
      write("fine", "fine\n")
      const link = path.join(root, "sub", "broken link")
      fs.mkdirSync(path.dirname(link))
      fs.symlinkSync("../target", link)

      const broken = yield* run(root, "--once", "--data", data)
      assert.strictEqual(broken.code, 0)
      assert.match(broken.out, /Could not be read.*--requeue/)
      assert.match(broken.out, /^ {4}sub\/broken link: it does not exist$/m)
      assert.deepStrictEqual(table(broken).now, measureAll(root))

      const again = yield* run(root, "--once", "--requeue", "--data", data)
      assert.include(again.out, "1 file(s) that could not be read are tried again")
      assert.include(again.out, "sub/broken link: it does not exist")

      write("target", "there it is\n")
      const repaired = yield* run(root, "--once", "--requeue", "--data", data)
      assert.notInclude(repaired.out, "Could not be read")
      assert.deepStrictEqual(table(repaired).now, measureAll(root))
      const after = yield* run(root, "--once", "--requeue", "--data", data)
      assert.include(after.out, "0 file(s) that could not be read are tried again")
    })
  )
})

describe("the pipeline without --once", () => {
  it.live("counts what comes, drains on SIGINT and ends with 0", () =>
    Effect.gen(function* () {
      const { data, root, write } = yield* place
      write("a", "a\n")
      const child = yield* start([root, "--data", data])
      yield* child.says(/ done 1 /)
      write("b", "b b\n")
      write("c", "c c c\n")
      yield* child.says(/ done 3 /)
      yield* child.kill("SIGINT")
      const ended = yield* child.ended
      assert.strictEqual(ended.code, 0, ended.err)
      assert.deepStrictEqual(table(ended).now, measureAll(root))
      assert.strictEqual(ended.err, "")
    })
  )

  it.live("stopped with SIGTERM half-way loses nothing, and --once stopped half-way ends with 130", () =>
    Effect.gen(function* () {
      const { data, root, write } = yield* place
      manyFiles(write, 1_500)
      const expected = measureAll(root)
      for (const [args, at, signal, code] of [
        [[root, "--data", data], 1, "SIGTERM", 0],
        [[root, "--data", data, "--once"], 500, "SIGINT", 130]
      ] as const) {
        const child = yield* start(args)
        yield* child.during(counted(root, data, at))
        yield* child.kill(signal)
        const ended = yield* child.ended
        assert.strictEqual(ended.code, code, ended.err)
        assert.match(ended.out, /Data is kept in/)
        assert.match(ended.out, /still queued/)
      }
      const last = yield* run(root, "--once", "--data", data)
      assert.deepStrictEqual(table(last), { now: expected, in: expected, out: nothing })
    })
  )
})

describe("a bad command line", () => {
  it.live.each([
    [["--onec"], 2, /^Unknown option '--onec'\n\n.*npm start -- \[folder\]/s],
    [["a", "b"], 2, /^One folder at a time: you gave "a" and "b"\n/],
    [["--concurrency", "many"], 2, /^--concurrency is "many"; give a whole number from 1 to 1000\n/],
    [["--data"], 2, /^Option '--data <value>' argument missing\n/],
    [["--data", "/no/such/folder/data.db", "--once"], 1, /\/no\/such\/folder/],
    [["/no/such/folder", "--once"], 1, /^There is no folder \/no\/such\/folder\n$/],
    [[main, "--once"], 1, /main\.ts is not a folder\. Give the folder it is in\.\n$/]
  ] as const)("%j is answered with help", ([args, code, message]) =>
    Effect.gen(function* () {
      const made = yield* folder
      const ended = yield* run(
        ...args,
        ...(args.some((arg) => arg.startsWith("--data")) ? [] : ["--data", path.join(made, "d")])
      )
      assert.match(ended.err, message)
      assert.strictEqual(ended.code, code)
      assert.notInclude(ended.err, "    at ", "no stack trace")
    })
  )
})

describe("the program text", () => {
  it.live("names backends in one file", () =>
    Effect.gen(function* () {
      const naming = fs.readdirSync(path.dirname(main)).filter((name) =>
        fs
          .readFileSync(path.join(path.dirname(main), name), "utf8")
          .split("\n")
          .filter((line) => !/^ *(?:\/\/|\*|\/\*\*)/.test(line))
          .some((line) => /sqlite|redis|postgres|rabbit|deno|bullmq|memory|layers\//i.test(line))
      )
      assert.deepStrictEqual(naming, ["backend.ts"])
      const version = yield* Effect.callback<string>((resume) => {
        execFile(process.execPath, [main, "--help"], (_, out) => resume(Effect.succeed(out)))
      })
      assert.include(version, "--requeue")
    })
  )
})

/**
 * The command line.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parseArgs } from "node:util"

export interface Options {
  /** `undefined`: the package's own text files. */
  readonly folder: string | undefined
  readonly once: boolean
  readonly requeue: boolean
  /** `undefined`: a file in the working directory. */
  readonly data: string | undefined
  readonly concurrency: number
  readonly trace: string | undefined
  readonly help: boolean
}

export const usage = `Counts the files of a folder: bytes, lines, words, links, and a hash of each.

  npm start -- [folder] [options]

  folder             what to count (default: the text files of this package)
  --once             end when every file is counted (default: go on looking for changes until Ctrl-C)
  --requeue          first try again the files that could not be read
  --data <file>      where everything is kept (default: .seams/pipeline.db in the working directory)
  --concurrency <n>  files read at the same time (default: 32)
  --trace <file>     append every span to this file, one JSON object per line
  --help             this text

Ends with 0 when done, or when stopped by Ctrl-C or SIGTERM without --once; with 130 when stopped before --once was done;
with 1 after an error; with 2 for a command line it does not understand.`

const known = {
  once: { type: "boolean" },
  requeue: { type: "boolean" },
  data: { type: "string" },
  concurrency: { type: "string" },
  trace: { type: "string" },
  help: { type: "boolean", short: "h" }
} as const

/** Something given that cannot be used, in a sentence for the user. */
export class Unusable extends Schema.TaggedError<Unusable>()("Unusable", { detail: Schema.String }) {
  override get message(): string {
    return this.detail
  }
}

/** Fails with a sentence for the user. */
export const parseOptions = (args: ReadonlyArray<string>): Result.Result<Options, string> =>
  Result.gen(function* () {
    const { positionals, values } = yield* Result.try({
      try: () => parseArgs({ args: Array.from(args), options: known, allowPositionals: true }),
      // The first sentence says what is wrong; the others are about how to write a folder that begins with a dash.
      catch: (error) => String(error instanceof Error ? error.message : error).split(". ")[0]!
    })
    if (positionals.length > 1)
      return yield* Result.fail(`One folder at a time: you gave ${positionals.map((one) => `"${one}"`).join(" and ")}`)
    if (positionals[0] === "") return yield* Result.fail("The folder is an empty text")
    for (const name of ["data", "trace"] as const)
      if (values[name] === "") return yield* Result.fail(`--${name} needs the name of a file`)
    const concurrency = Number(values.concurrency ?? 32)
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1000)
      return yield* Result.fail(`--concurrency is "${values.concurrency}"; give a whole number from 1 to 1000`)
    return {
      folder: positionals[0],
      once: values.once === true,
      requeue: values.requeue === true,
      data: values.data,
      concurrency,
      trace: values.trace,
      help: values.help === true
    }
  })

/**
 * Spans as lines of JSON. A program in production installs an OpenTelemetry exporter here; the spans are the same.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { Unusable } from "./options.ts"
import { reasonOf } from "./walk.ts"

class LineSpan extends Tracer.NativeSpan {
  readonly #lines: Array<string>
  constructor(lines: Array<string>, options: ConstructorParameters<typeof Tracer.NativeSpan>[0]) {
    super(options)
    this.#lines = lines
  }
  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    if (this.status._tag === "Ended") return
    super.end(endTime, exit)
    const parent = Option.map(this.parent, (span) => span.spanId)
    const line = {
      name: this.name,
      kind: this.kind,
      traceId: this.traceId,
      spanId: this.spanId,
      parentId: Option.getOrNull(parent),
      start: Number(this.startTime) / 1e6,
      milliseconds: Number(endTime - this.startTime) / 1e6,
      outcome: exit._tag,
      attributes: Object.fromEntries(this.attributes)
    }
    this.#lines.push(JSON.stringify(line, (_, value: unknown) => (typeof value === "bigint" ? Number(value) : value)))
  }
}

/** Appends to a file, twice a second and at the end. */
export const traceTo = (filename: string) =>
  Layer.effect(
    Tracer.Tracer,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs
        .open(filename, { flag: "a" })
        .pipe(
          Effect.mapError((error) => new Unusable({ detail: `The file ${filename} of --trace: ${reasonOf(error)}` }))
        )
      const lines: Array<string> = []
      const flush = Effect.suspend(() =>
        lines.length === 0 ? Effect.void : file.writeAll(Buffer.from(`${lines.splice(0).join("\n")}\n`))
      ).pipe(Effect.catch((error) => Effect.logWarning(`spans are lost: ${error.message}`)))
      yield* Effect.addFinalizer(() => flush)
      yield* flush.pipe(Effect.delay("500 millis"), Effect.forever, Effect.forkScoped)
      return Tracer.make({ span: (options) => new LineSpan(lines, options) })
    })
  )

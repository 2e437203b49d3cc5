/**
 * The terminal: a few lines at the bottom that are drawn again and again, and lines above them that stay. Without a terminal
 * only the latter.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"

export interface ScreenService {
  readonly isTerminal: boolean
  /** A line that stays. */
  readonly print: (line: string) => Effect.Effect<void>
  /** Replaces the live lines; none: takes them away. Nothing happens without a terminal. */
  readonly draw: (lines: ReadonlyArray<string>) => Effect.Effect<void>
}

const hideCursor = "\x1b[?25l"
const showCursor = "\x1b[?25h"
const clearBelow = "\x1b[0J"
const up = (lines: number) => (lines === 0 ? "\r" : `\r\x1b[${lines}A`)

export class Screen extends Context.Service<Screen, ScreenService>()("pipeline/Screen") {
  /** Log messages go above the live lines too, or to standard error. */
  static readonly layer = Layer.unwrap(
    Effect.map(
      Effect.sync(() => process.stdout),
      (out) => {
        let live: ReadonlyArray<string> = []
        const erased = () => (live.length === 0 ? "" : `${up(live.length)}${clearBelow}`)
        const fit = (line: string) => line.slice(0, (out.columns || 80) - 1)
        const frame = () => live.map((line) => `${fit(line)}\n`).join("")
        const print = (line: string) => {
          out.write(`${erased()}${line}\n${frame()}`)
        }
        const draw = (lines: ReadonlyArray<string>) => {
          const before = erased()
          live = lines
          out.write(before + frame())
        }
        // Also when the process ends in some other way than through the layer.
        const restore = () => void out.write(showCursor)
        const screen = Layer.effect(
          Screen,
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => {
                if (!out.isTTY) return
                process.once("exit", restore)
                out.write(hideCursor)
              }),
              () =>
                Effect.sync(() => {
                  if (!out.isTTY) return
                  draw([])
                  restore()
                  process.off("exit", restore)
                })
            ),
            {
              isTerminal: out.isTTY,
              print: (line) => Effect.sync(() => print(line)),
              draw: (lines) => Effect.sync(() => (out.isTTY ? draw(lines) : undefined))
            }
          )
        )
        const logger = Logger.make<unknown, void>((options) => {
          const line = Logger.formatSimple.log(options)
          if (out.isTTY) print(line)
          else process.stderr.write(`${line}\n`)
        })
        return Layer.merge(screen, Logger.layer([logger]))
      }
    )
  )
}

import type * as Duration from "effect/Duration"
import type * as Queue from "../../Queue.ts"

/**
 * Where the file is and how it is kept.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /**
   * The database file, or a folder that is there (then `data.sqlite` in it), or `":memory:"` for one that ends with the layer. Default:
   * `.seams/data.sqlite` in the working directory, whose folder is made when it is missing. The folder of any other path must exist
   * (`DirectoryMissing`). Local file systems only.
   */
  readonly filename?: string | undefined
  /**
   * When an accepted write is on the disk. `"full"` (default): at once, it survives a loss of power. `"normal"`: soon; a killed
   * process loses nothing, a loss of power may lose the last commits, and the file stays intact.
   *
   * Claims and settles of messages are never synced one by one: what a loss of power undoes there is delivered again.
   */
  readonly synchronous?: "full" | "normal" | undefined
  /** How long a write waits for another process to finish its own before it fails as unavailable. Default: 5 seconds. */
  readonly lockTimeout?: Duration.Input | undefined
  /**
   * `"portable"` refuses what some backend could not hold (`Kv.portableLimits`). Default: `"natural"`, which takes values of 16 MiB
   * and commits of 32 MiB.
   */
  readonly limits?: "natural" | "portable" | undefined
  /**
   * How many commits the change log remembers: how far back a watch can resume, and a lost commit can be found again.
   * Default: 100,000.
   */
  readonly logLength?: number | undefined
  /** Older lines of the change log are dropped too. Default: no limit by age. */
  readonly logAge?: Duration.Input | undefined
  /** Spans around operations. Default: true. */
  readonly tracing?: boolean | undefined
}

/**
 * The options of the layers that have a queue.
 *
 * @since 0.1.0
 * @category options
 */
export interface QueueOptions extends Options {
  /** Replaces the dead letters in the file. */
  readonly deadLetters?: Queue.DeadLetterStore | undefined
}

/** The folder that the layer makes by itself. */
export const defaultDirectory = ".seams"
export const defaultFilename = `${defaultDirectory}/data.sqlite`

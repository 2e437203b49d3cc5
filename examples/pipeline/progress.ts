/**
 * What happened in this process since it started, for whoever shows it. The truth is in the store; these are numbers to look at.
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

export interface ProgressService {
  /** Files counted by this process. */
  counted: number
  /** Versions this process found new or changed. */
  found: number
  /** Files counted out because they are gone. */
  removed: number
  scans: number
  /** Until when, in milliseconds since the epoch, the scan may rest. */
  restUntil: number
  /** Folders and files that the last scans could not look at, with the reason. */
  readonly skipped: Map<string, string>
}

export class Progress extends Context.Service<Progress, ProgressService>()("pipeline/Progress") {
  static readonly layer = Layer.sync(Progress, () => ({
    counted: 0,
    found: 0,
    removed: 0,
    scans: 0,
    restUntil: 0,
    skipped: new Map<string, string>()
  }))
}

import * as DateTime from "effect/DateTime"
import type * as Cron from "../../src/Cron.ts"

const time = (at: DateTime.Utc): string => DateTime.formatIso(at).slice(11, 19)

/** An event as a line, or nothing for what is not worth one. */
export const lineOf = (event: Cron.Event): string | undefined => {
  switch (event._tag) {
    case "Started": {
      const { attempt, scheduledTime } = event.run
      return `${event.jobId} ${time(scheduledTime)} started${attempt === 1 ? "" : `, attempt ${attempt}`}`
    }
    case "Succeeded":
    case "Failed":
    case "Cancelled":
      return `${event.jobId} ${time(event.record.scheduledTime)} ${event._tag.toLowerCase()}${event.record.error === undefined ? "" : `: ${event.record.error}`}`
    case "Retrying":
      return `${event.jobId} ${time(event.run.scheduledTime)} failed (${event.error}), is tried again`
    case "TakenOver":
      return `${event.jobId} taken over from ${event.from} (attempt ${event.attempt}, token ${event.token})`
    case "Skipped":
      return `${event.jobId} ${time(event.scheduledTime)} skipped (${event.reason})`
    case "Missed":
      return `${event.jobId} missed ${event.count} slot(s) from ${time(event.first)} to ${time(event.last)}`
    default:
      return undefined
  }
}

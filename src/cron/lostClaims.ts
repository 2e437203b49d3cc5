/**
 * Claims whose commit got no answer. It may have been applied all the same: then the run is in the state, claimed by this process,
 * and nobody runs it. The next look at the job that finds such an orphan starts it.
 */
import type { ClaimRef, JobState } from "./state.ts"

/** @internal */
export interface LostClaims {
  readonly isOrphan: (jobId: string, claim: ClaimRef) => boolean
  /** Follows one change of a job from the claims it tries to what became of it. */
  readonly attempt: (jobId: string) => Attempt
}

interface Attempt {
  /** What is tried now; it replaces what was tried before. */
  readonly claims: (claims: ReadonlyArray<ClaimRef>) => void
  /** No answer; tells whether claims may have been lost. */
  readonly failed: () => boolean
  /** Answered, and what follows from it is done. `written`: the state that was stored, after which no earlier try can land. */
  readonly succeeded: (written: JobState | undefined) => void
}

const keyOf = ({ incarnation, token }: ClaimRef): string => `${incarnation}/${token}`

const mostPerJob = 1_000

/** @internal */
export const makeLostClaims = (): LostClaims => {
  const lost = new Map<string, Set<string>>()
  // A claim that is under way has somebody who will run it.
  const underWay = new Map<string, number>()
  const count = (keys: ReadonlyArray<string>, by: 1 | -1) => {
    for (const key of keys) {
      const n = (underWay.get(key) ?? 0) + by
      if (n > 0) underWay.set(key, n)
      else underWay.delete(key)
    }
  }
  return {
    isOrphan: (jobId, claim) => {
      const key = keyOf(claim)
      return lost.get(jobId)?.has(key) === true && !underWay.has(key)
    },
    attempt: (jobId) => {
      let keys: ReadonlyArray<string> = []
      return {
        claims: (claims) => {
          count(keys, -1)
          keys = claims.map(keyOf)
          count(keys, 1)
        },
        failed: () => {
          count(keys, -1)
          if (keys.length === 0) return false
          const ofJob = lost.get(jobId) ?? new Set<string>()
          for (const key of keys) ofJob.add(key)
          for (const key of ofJob) if (ofJob.size > mostPerJob) ofJob.delete(key)
          lost.set(jobId, ofJob)
          return true
        },
        succeeded: (written) => {
          count(keys, -1)
          const ofJob = lost.get(jobId)
          if (ofJob === undefined) return
          for (const key of keys) ofJob.delete(key)
          if (written !== undefined) {
            const held = new Set(written.active.map(({ token }) => keyOf({ incarnation: written.incarnation, token })))
            for (const key of ofJob) if (!held.has(key)) ofJob.delete(key)
          }
          if (ofJob.size === 0) lost.delete(jobId)
        }
      }
    }
  }
}

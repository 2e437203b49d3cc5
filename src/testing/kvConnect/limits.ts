/**
 * The limits of KV Connect, as the real server has them (denokv), so that a program within them runs against either.
 */

/** Bytes of a packed key that is written; one that is read may be a byte longer, for the place behind the longest. */
export const maxKey = 2_048
/** Bytes of a value. */
export const maxValue = 65_536
export const maxRanges = 10
/** Entries of all ranges of one read together. */
export const maxEntries = 1_000
export const maxChecks = 10
export const maxMutations = 1_000
/** Bytes of all keys and values of one write. */
export const maxWrite = 819_200
export const maxWatched = 10
/** Bytes of a request: the largest write, with what a thousand mutations of it take around their keys and values. */
export const maxBody = 1_048_576

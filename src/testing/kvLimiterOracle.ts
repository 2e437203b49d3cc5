/** The limits of a limiter checked by brute force: every window of every grant that was dated. */

interface Dated {
  readonly at: number
  readonly cost: number
}

const inOrder = (grants: ReadonlyArray<Dated>) => grants.toSorted((a, b) => a.at - b.at)

/** The window, its start included and its end excluded, that holds more than the limit; `undefined`: none does. */
export const overfullWindow = (
  grants: ReadonlyArray<Dated>,
  { limit, window }: { readonly limit: number; readonly window: number }
): string | undefined => {
  const all = inOrder(grants)
  // A window that holds too much still does when it is moved to begin with its first grant.
  for (const { at } of all) {
    const inside = all.filter((grant) => grant.at >= at && grant.at < at + window)
    const sum = inside.reduce((total, { cost }) => total + cost, 0)
    if (sum > limit) return `${sum} of ${limit} in the window from ${at} to ${at + window}`
  }
  return undefined
}

/** The window, its end excluded, that holds more than a full bucket and what comes back in it; `undefined`: none does. */
export const overdrawnBucket = (
  grants: ReadonlyArray<Dated>,
  { burst, limit, window }: { readonly burst: number; readonly limit: number; readonly window: number }
): string | undefined => {
  const all = inOrder(grants)
  for (let i = 0; i < all.length; i++) {
    let sum = 0
    for (let j = i; j < all.length; j++) {
      sum += all[j]!.cost
      // The shortest window that holds both: dates are whole milliseconds.
      const span = all[j]!.at - all[i]!.at + 1
      if (sum * window > burst * window + span * limit)
        return `${sum} in the ${span} ms from ${all[i]!.at}, where ${burst} and ${limit} per ${window} ms are allowed`
    }
  }
  return undefined
}

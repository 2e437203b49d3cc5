/**
 * How many times slower than usual this machine is: `SEAMS_PACE`, 1 without it. On a live clock the cases wait that much longer, and an
 * answer may come that much later.
 */
export const machinePace: number = Math.max(1, Number(process.env["SEAMS_PACE"]) || 1)

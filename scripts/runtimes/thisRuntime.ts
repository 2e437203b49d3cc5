/** The runtime that this code runs on, with its version: `Node 22.19.0`, `Deno 2.9.6`, `Bun 1.4.5`. */
export const thisRuntime = (): string => {
  const { bun, deno, node } = process.versions
  if (deno !== undefined) return `Deno ${deno}`
  return bun === undefined ? `Node ${node}` : `Bun ${bun}`
}

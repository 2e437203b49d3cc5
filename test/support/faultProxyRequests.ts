/** Where one request of a client ends and the next begins, for the proxy that lets some of them through and others not. */

export interface Request {
  readonly bytes: Buffer
  /**
   * What a trap is matched with. For Redis the words of the command with spaces between them, and at an EXEC the commands of
   * the whole transaction, one a line; undefined for commands that only wait for their EXEC. Else the bytes, as latin1.
   */
  readonly text: string | undefined
}

interface Frame {
  readonly end: number
  readonly words: ReadonlyArray<string>
}

/** Reads one command, an array of bulk strings; or says how many bytes there have to be before it is worth another try. */
const frameAt = (buffer: Buffer, start: number): Frame | { readonly missing: number } => {
  let at = start
  const number = (): number | undefined => {
    const end = buffer.indexOf("\r\n", at)
    if (end < 0) return undefined
    const value = Number(buffer.toString("latin1", at + 1, end))
    at = end + 2
    return value
  }
  const more = { missing: buffer.length + 1 }
  const count = number()
  if (count === undefined) return more
  const words: Array<string> = []
  for (let n = 0; n < count; n++) {
    const length = number()
    if (length === undefined) return more
    if (buffer.length < at + length + 2) return { missing: at + length + 2 }
    words.push(buffer.toString("latin1", at, at + length))
    at += length + 2
  }
  return { end: at, words }
}

/** Gives each command its text; knows whether a transaction is open. */
const reader = (): ((words: ReadonlyArray<string>) => string | undefined) => {
  let transaction: Array<string> | undefined
  return (words) => {
    const name = (words[0] ?? "").toUpperCase()
    const line = words.join(" ")
    if (name === "MULTI") transaction = [line]
    else if (transaction === undefined) return line
    else if (name === "EXEC" || name === "DISCARD") {
      const text = [...transaction, line].join("\n")
      transaction = undefined
      return text
    } else transaction.push(line)
    return undefined
  }
}

/**
 * Cuts what one client sends into requests. What begins like a command of Redis is taken for such, up to the end of the
 * connection, and comes out whole; of any other protocol each piece that arrives is a request.
 */
export const requestSplitter = (): ((chunk: Buffer) => ReadonlyArray<Request>) => {
  const textOf = reader()
  let redis: boolean | undefined
  let pieces: Array<Buffer> = []
  let size = 0
  let wanted = 0
  return (chunk) => {
    redis ??= chunk[0] === 0x2a
    if (!redis) return [{ bytes: chunk, text: chunk.toString("latin1") }]
    pieces.push(chunk)
    size += chunk.length
    // A large value comes in many pieces, which are not to be joined anew for each of them.
    if (size < wanted) return []
    const buffer = Buffer.concat(pieces)
    const requests: Array<Request> = []
    let at = 0
    wanted = 0
    while (at < buffer.length) {
      const frame = frameAt(buffer, at)
      if ("missing" in frame) {
        wanted = frame.missing - at
        break
      }
      requests.push({ bytes: buffer.subarray(at, frame.end), text: textOf(frame.words) })
      at = frame.end
    }
    pieces = at === buffer.length ? [] : [buffer.subarray(at)]
    size = buffer.length - at
    return requests
  }
}

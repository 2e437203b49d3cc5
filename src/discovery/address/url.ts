/** Addresses as URLs, and the forms that stand behind a scheme. */
import { isCommaForm, parseCommaForm } from "./commaForm.ts"
import { type Address, type Dialect, parseEndpoint, Problem } from "./model.ts"

const schemePattern = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//

const decoded = (text: string): string | undefined | Problem => {
  try {
    return text === "" ? undefined : decodeURIComponent(text)
  } catch {
    return new Problem("it holds a percent sign that begins no percent-encoded byte; write %25 for a percent sign")
  }
}

const parseUrl = (text: string, scheme: string, dialect: Dialect): Address | Problem => {
  const known = dialect.schemes[scheme]
  if (known === undefined) return new Problem(`its scheme is ${scheme}://; write ${dialect.example}`)
  const rest = text.slice(scheme.length + 3)
  // A host, and options of the comma form behind it: what some tools make of a scheme and a comma form.
  const comma = rest.replace(/^([^,@/]*)\/(\d+),/, "$1,defaultDatabase=$2,").replace(/^([^,@/]*)\/,/, "$1,")
  if (isCommaForm(comma)) return withTls(parseCommaForm(comma, dialect), known.tls)
  // What begins a path, a query or a fragment ends host and credentials: the rest of a password would be tried as an address.
  if (/[/?#]/.test(rest.slice(0, Math.max(0, rest.lastIndexOf("@")))))
    return new Problem("its credentials hold a /, ? or #; write them percent-encoded: %2F, %3F, %23")
  let url: URL
  try {
    // A scheme without rules of its own: it keeps the letters of the host, and its port.
    url = new URL(`seams://${rest}`)
  } catch {
    return new Problem(`it is no URL; write ${dialect.example}, with %40 for an @ in a password`)
  }
  if (url.hostname === "") return new Problem("it names no host")
  if (url.search !== "" || url.hash !== "") return new Problem("it has a query or a fragment, which mean nothing here")
  const username = decoded(url.username)
  if (username instanceof Problem) return username
  const password = decoded(url.password)
  if (password instanceof Problem) return password
  const hostname = decoded(url.hostname)
  if (hostname instanceof Problem) return hostname
  const endpoint = parseEndpoint(url.port === "" ? (hostname ?? "") : `${hostname}:${url.port}`)
  if (endpoint instanceof Problem) return endpoint
  const path = decoded(url.pathname.replace(/^\//, ""))
  if (path instanceof Problem) return path
  const database = path === undefined || known.management === true ? undefined : dialect.database(path)
  if (database instanceof Problem) return database
  return {
    endpoints: [known.management === true ? { ...endpoint, port: undefined } : endpoint],
    username,
    password,
    database,
    tls: known.tls
  }
}

const withTls = (address: Address | Problem, tls: boolean | undefined): Address | Problem =>
  address instanceof Problem || tls !== true ? address : { ...address, tls: address.tls ?? true }

/** Several URLs, with commas between them: the nodes of one cluster, with the credentials of the first. */
const severalUrls = (text: string): ReadonlyArray<string> => text.split(/,(?=[A-Za-z][A-Za-z0-9+.-]*:\/\/)/)

/**
 * Reads an address in any of its forms: a URL, several of them, `host:port`, or the comma form, with or without a scheme before it.
 */
export const parseAddress = (text: string, dialect: Dialect): Address | Problem => {
  const scheme = schemePattern.exec(text.trimStart())?.[1]?.toLowerCase()
  if (scheme === undefined) {
    const bare = text.trim()
    if (isCommaForm(text)) return parseCommaForm(text, dialect)
    // Credentials without a scheme.
    if (bare.includes("@"))
      return parseUrl(`${Object.keys(dialect.schemes)[0]}://${bare}`, Object.keys(dialect.schemes)[0]!, dialect)
    const endpoint = parseEndpoint(bare)
    return endpoint instanceof Problem
      ? endpoint
      : { endpoints: [endpoint], username: undefined, password: undefined, database: undefined, tls: undefined }
  }
  const [head, ...tail] = severalUrls(text.trimStart())
  // Spaces at the end are part of a password of the comma form only.
  const first = parseUrl(tail.length > 0 || !head!.includes(",") ? head!.trim() : head!, scheme, dialect)
  if (first instanceof Problem) return first
  const endpoints = [...first.endpoints]
  for (const one of tail) {
    const its = schemePattern.exec(one)![1]!.toLowerCase()
    const next = parseUrl(one.trim(), its, dialect)
    if (next instanceof Problem) return next
    if ((next.username ?? first.username) !== first.username || (next.password ?? first.password) !== first.password)
      return new Problem("its URLs have different credentials; name the nodes of one cluster")
    if (next.tls !== first.tls) return new Problem("some of its URLs are secure and some are not")
    endpoints.push(...next.endpoints)
  }
  return { ...first, endpoints: endpoints as unknown as Address["endpoints"] }
}

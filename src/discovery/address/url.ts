/** Addresses as URLs, and the forms that stand behind a scheme. */
import { badPercent, misleadingUrl } from "../../internal/urlText.ts"
import { isCommaForm, parseCommaForm } from "./commaForm.ts"
import { type Address, type Dialect, type Endpoint, parseEndpoint, Problem } from "./model.ts"

const schemePattern = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//

const decoded = (text: string): string | undefined | Problem => {
  try {
    return text === "" ? undefined : decodeURIComponent(text)
  } catch {
    return new Problem(badPercent)
  }
}

/** What some tools make of a scheme and a comma form: `redis://host:6379/2,password=...` */
const commaFormIn = (rest: string): string | undefined => {
  const path = /^([^,@/]*)\/(\d*),(?![A-Za-z][A-Za-z0-9+.-]*:\/\/)/
  const text = rest.replace(path, (_, host: string, index: string) =>
    index === "" ? `${host},` : `${host},defaultDatabase=${index},`
  )
  return isCommaForm(text) ? text : undefined
}

const parseUrl = (text: string, dialect: Dialect): Address | Problem => {
  const scheme = schemePattern.exec(text)![1]!
  const known = dialect.schemes[scheme.toLowerCase()]
  if (known === undefined) return new Problem(`its scheme is ${scheme.toLowerCase()}://; write ${dialect.example}`)
  const rest = text.slice(scheme.length + 3)
  const comma = commaFormIn(rest)
  if (comma !== undefined) return withTls(parseCommaForm(comma, dialect), known.tls)
  const misleading = misleadingUrl(rest)
  if (misleading !== undefined) return new Problem(misleading)
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
  const given = url.pathname.replace(/^\//, "")
  if (given.includes("/") && known.management !== true)
    return new Problem("what follows its host holds a /; write it as %2F")
  const path = decoded(given)
  if (path instanceof Problem) return path
  const database = path === undefined || known.management === true ? undefined : dialect.database(path)
  if (database instanceof Problem) return database
  const port = known.management === true ? dialect.port : (endpoint.port ?? dialect.port)
  return { endpoints: [{ ...endpoint, port }], username, password, database, tls: known.tls }
}

const withTls = (address: Address | Problem, tls: boolean | undefined): Address | Problem => {
  if (address instanceof Problem || tls !== true) return address
  return address.tls === false
    ? new Problem("its scheme says TLS and its ssl says none; leave one of them out")
    : { ...address, tls }
}

/** Several URLs, with commas between them: the nodes of one cluster, with the credentials of the first. */
const severalUrls = (text: string): ReadonlyArray<string> => text.split(/,(?=[A-Za-z][A-Za-z0-9+.-]*:\/\/)/)

const others = (first: Address, urls: ReadonlyArray<string>, dialect: Dialect): ReadonlyArray<Endpoint> | Problem => {
  const endpoints: Array<Endpoint> = []
  for (const one of urls) {
    // The scheme is not shown: it may be a part of the first one's password.
    if (dialect.schemes[schemePattern.exec(one)![1]!.toLowerCase()] === undefined)
      return new Problem(`behind a comma it has a scheme that is not known here; write ${dialect.example}`)
    const next = parseUrl(one.trim(), dialect)
    if (next instanceof Problem) return next
    if ((next.username ?? first.username) !== first.username || (next.password ?? first.password) !== first.password)
      return new Problem("its URLs have different credentials; name the nodes of one cluster")
    if ((next.database ?? first.database) !== first.database)
      return new Problem("its URLs have different paths; name the nodes of one cluster")
    if (next.tls !== first.tls) return new Problem("some of its URLs are secure and some are not")
    endpoints.push(...next.endpoints)
  }
  return endpoints
}

/**
 * Reads an address in any of its forms: a URL, several of them, `host:port`, or the comma form, with or without a scheme before it.
 */
export const parseAddress = (given: string, dialect: Dialect): Address | Problem => {
  const text = given.trim()
  const scheme = schemePattern.exec(text)?.[0]
  if (scheme === undefined) {
    if (isCommaForm(text)) return parseCommaForm(text, dialect)
    // Credentials without a scheme.
    if (text.includes("@")) return parseUrl(`${Object.keys(dialect.schemes)[0]}://${text}`, dialect)
    const endpoint = parseEndpoint(text)
    return endpoint instanceof Problem
      ? endpoint
      : {
          endpoints: [{ ...endpoint, port: endpoint.port ?? dialect.port }],
          username: undefined,
          password: undefined,
          database: undefined,
          tls: undefined
        }
  }
  const [head, ...tail] = commaFormIn(text.slice(scheme.length)) === undefined ? severalUrls(text) : [text]
  const first = parseUrl(head!.trim(), dialect)
  if (first instanceof Problem) return first
  const more = others(first, tail, dialect)
  return more instanceof Problem ? more : { ...first, endpoints: [...first.endpoints, ...more] }
}

/** Writes addresses in every form that discovery reads; the reverse of `src/discovery/address`. */

export interface Parts {
  readonly host: string
  readonly port: number
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
}

const inBrackets = (host: string): string => (host.includes(":") ? `[${host}]` : host)

/** Percent-encoded, also what `encodeURIComponent` leaves. */
export const percent = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)

const userinfo = ({ password, username }: Parts): string => {
  if (username === undefined && password === undefined) return ""
  return `${percent(username ?? "")}${password === undefined ? "" : `:${percent(password)}`}@`
}

export const asUrl = (scheme: string, parts: Parts): string =>
  `${scheme}://${userinfo(parts)}${inBrackets(parts.host)}:${parts.port}${parts.database === undefined ? "" : `/${percent(parts.database)}`}`

/** A value in quotes, which are doubled inside. */
const inQuotes = (text: string): string => `"${text.replaceAll('"', '""')}"`

/** Of the comma form: quoted where it would end early, or lose blanks. */
const commaValue = (text: string): string => (/[,"]/.test(text) || text !== text.trim() ? inQuotes(text) : text)

export const asCommaForm = ({ database, host, password, port, username }: Parts, scheme = ""): string =>
  [
    `${scheme}${inBrackets(host)}:${port}`,
    ...(username === undefined ? [] : [`user=${commaValue(username)}`]),
    ...(password === undefined ? [] : [`password=${commaValue(password)}`]),
    ...(database === undefined ? [] : [`defaultDatabase=${database}`])
  ].join(",")

/** Of ADO.NET. */
const semicolonValue = (text: string): string => (/[;"']/.test(text) || text !== text.trim() ? inQuotes(text) : text)

export const asAdoNet = ({ database, host, password, port, username }: Parts): string =>
  [
    `Host=${host}`,
    `Port=${port}`,
    ...(username === undefined ? [] : [`Username=${semicolonValue(username)}`]),
    ...(password === undefined ? [] : [`Password=${semicolonValue(password)}`]),
    ...(database === undefined ? [] : [`Database=${semicolonValue(database)}`])
  ].join(";")

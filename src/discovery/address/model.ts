/** What an address says, whatever form it is written in. */

/** Where a server listens. Without a port the one that its technology usually has is meant. */
export interface Endpoint {
  readonly host: string
  readonly port: number | undefined
}

export interface Address {
  readonly endpoints: readonly [Endpoint, ...Array<Endpoint>]
  readonly username: string | undefined
  readonly password: string | undefined
  /** The database of PostgreSQL, the index of that of Redis, the virtual host of RabbitMQ. */
  readonly database: string | undefined
  /** `undefined`: the form does not say. */
  readonly tls: boolean | undefined
  /** The name by which Sentinels know the master. */
  readonly sentinel?: string | undefined
  /** The name that the server's certificate must have. */
  readonly servername?: string | undefined
  /** What the connections are called on the server. */
  readonly clientName?: string | undefined
  /** Milliseconds. */
  readonly connectTimeout?: number | undefined
}

/** Why a text is no address, and what to write: words that hold nothing of the text but names of options and schemes. */
export class Problem {
  readonly detail: string
  constructor(detail: string) {
    this.detail = detail
  }
}

/** What differs between the technologies. */
export interface Dialect {
  /** A URL as people write it, for messages. */
  readonly example: string
  /** Schemes of URLs, without `://`. `management`: the port is that of another service on the same host. */
  readonly schemes: Readonly<Record<string, { readonly tls?: boolean; readonly management?: boolean }>>
  /** The port of an address that names none, where the form does not say and options cannot change it. */
  readonly port?: number | undefined
  /** The port for TLS in the comma form, where that differs. */
  readonly commaTlsPort?: number | undefined
  /** What the database part is called, and what is wrong with one. */
  readonly database: (text: string) => string | Problem
}

const hostPattern = /^[\p{L}\p{N}._-]+$/u

/** An IPv6 address, with the name of a network interface behind it or without. */
const isIpv6 = (text: string): boolean => {
  const [address] = text.split("%", 1) as [string]
  return /^[0-9A-Fa-f:.]+$/.test(address) && URL.canParse(`seams://[${address}]`)
}

/** `host`, `host:port`, `[::1]`, `[::1]:port`, or an IPv6 address alone. */
export const parseEndpoint = (text: string): Endpoint | Problem => {
  const bracketed = /^\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\](?::(\d+))?$/.exec(text)
  if (bracketed !== null)
    return isIpv6(bracketed[1]!)
      ? endpoint(bracketed[1]!, bracketed[2])
      : new Problem("what stands in brackets is no IPv6 address")
  if (/^[0-9A-Fa-f:.]+(?:%[\w.-]+)?$/.test(text) && isIpv6(text)) return { host: text, port: undefined }
  const colon = text.lastIndexOf(":")
  const host = colon === -1 ? text : text.slice(0, colon)
  if (host === "") return new Problem("it names no host")
  if (!hostPattern.test(host)) return new Problem("it holds something that is no host; write host:port, or a URL")
  if (colon === -1) return endpoint(host, undefined)
  const port = text.slice(colon + 1)
  return /^\d+$/.test(port) ? endpoint(host, port) : new Problem("what follows the host is no port")
}

const endpoint = (host: string, port: string | undefined): Endpoint | Problem => {
  if (port === undefined) return { host, port: undefined }
  const number = Number(port)
  return number > 0 && number < 65_536 ? { host, port: number } : new Problem("its port is not within 1 to 65535")
}

/** For messages: without credentials. */
export const showEndpoint = ({ host, port }: Endpoint, defaultPort: number): string =>
  `${host.includes(":") ? `[${host}]` : host}:${port ?? defaultPort}`

/** What in the text of a URL would mislead the parser of the platform, which tells nobody what it left out or took for something else. */

export interface UrlTextOptions {
  /** A query is parameters, whose values may hold an @. */
  readonly parameters?: boolean | undefined
}

/** Of what stands behind `scheme://`. Words that hold nothing of the text, or `undefined`. */
export const misleadingUrl = (rest: string, options?: UrlTextOptions): string | undefined => {
  // The parser drops them.
  if (/[\t\n\r]/.test(rest)) return "it holds a tab or a line break; write %09, %0A or %0D for one that is meant"
  const text = options?.parameters === true ? rest.replace(/^([^?#]*\/[^?#]*)\?[^#]*/, "$1") : rest
  // What begins a path, a query or a fragment ends host and credentials: the rest of a password would be tried as an address.
  return /[/?#]/.test(text.slice(0, Math.max(0, text.lastIndexOf("@"))))
    ? "its credentials hold a /, ? or #; write them percent-encoded: %2F, %3F, %23"
    : undefined
}

export const badPercent = "it holds a percent sign that begins no percent-encoded byte; write %25 for a percent sign"

/**
 * Splits a request's target into the upstream it names and what is asked of it.
 *
 *     /github/repos/x?y=1  →  upstream `github`, rest `/repos/x`, query `?y=1`
 *
 * What could climb out of the upstream's base path is refused, never normalised into another path: the upstream would
 * get something else than the client sent. What is let through goes on byte for byte.
 */

/** What a target says, or why it is refused. */
export type Target =
  | { readonly _tag: "Target"; readonly upstream: string; readonly rest: string; readonly query: string }
  | { readonly _tag: "Malformed"; readonly why: string }

const malformed = (why: string): Target => ({ _tag: "Malformed", why })

/** May be a way out, or no path at all: worth the closer looks below. */
const suspicious = /[%\\#;\xc0\xc1]|\/\.|\/\//

// A server, or the next one behind it, may decode more than once: `%252e` is looked at as `%2e`.
const backslash = /\\|%(?:25)*5c/i
const dotSegment = /(?:\/|%(?:25)*2f)(?:\.|%(?:25)*2e){1,2}(?:$|\/|;|%(?:25)*(?:2f|3b))/i
const badEscape = /%(?![0-9a-f]{2})/i
/** Control characters, and bytes that begin no character of UTF-8 but have long served as another way to write a dot. */
const badByte = /%(?:25)*(?:[01][0-9a-f]|7f|c[01])/i

/** Reads the target of a request line, in origin form. */
export const parse = (target: string): Target => {
  if (target.charCodeAt(0) !== 47) return malformed("the request target must be a path that begins with /")
  for (let i = 0; i < target.length; i++) {
    const code = target.charCodeAt(i)
    if (code <= 0x20 || code === 0x7f || code > 0xff)
      return malformed("the request target holds a character it may not")
  }
  const question = target.indexOf("?")
  const path = question === -1 ? target : target.slice(0, question)
  const query = question === -1 ? "" : target.slice(question)
  if (query.includes("#")) return malformed("a request target has no fragment")
  const slash = path.indexOf("/", 1)
  const rest = slash === -1 ? "" : path.slice(slash)
  if (suspicious.test(path)) {
    if (path.includes("#")) return malformed("a request target has no fragment")
    if (backslash.test(path)) return malformed("the path holds a backslash")
    if (dotSegment.test(path)) return malformed("the path holds a segment `.` or `..`")
    if (badEscape.test(path)) return malformed("the path holds a % that is no escape")
    if (badByte.test(path)) return malformed("the path holds an escape of a character it may not")
    // `//name/x` alone is a reference to another host for whoever resolves it.
    if (rest.startsWith("//")) return malformed("the path begins with an empty segment")
    if (/[\xc0\xc1]/.test(path)) return malformed("the path holds a character it may not")
  }
  return { _tag: "Target", upstream: slash === -1 ? path.slice(1) : path.slice(1, slash), rest, query }
}

/** The path and the query's keys, without values: those may be secrets, and so may a key that has none. */
export const forLog = (target: string): string => {
  const question = target.indexOf("?")
  if (question === -1) return target
  const keys = target
    .slice(question + 1)
    .split("&")
    .map((pair) => {
      const equals = pair.indexOf("=")
      return equals === -1 ? "" : pair.slice(0, equals + 1)
    })
  return `${target.slice(0, question)}?${keys.join("&")}`
}

/** `Prefer: wait=10` (RFC 7240): the longest time until a call starts. */

/**
 * The seconds of its `wait`; `undefined` where it has none; `"bad"` where they are no whole number, or the field is no list
 * of preferences. Of several `wait`s the first counts, as the standard says.
 */
export const wait = (field: string): number | undefined | "bad" => {
  let seconds: number | undefined
  for (const preference of split(field, ",")) {
    const [bare = ""] = split(preference, ";")
    if (bare.trim() === "") continue
    const found = member.exec(bare.trim())
    if (found === null) return "bad"
    if (seconds !== undefined || found[1]!.toLowerCase() !== "wait") continue
    const value = found[2] ?? found[3] ?? ""
    if (!/^\d{1,9}$/.test(value)) return "bad"
    seconds = Number(value)
  }
  return seconds
}

const member = /^([!#$%&'*+\-.^_`|~\w]+)(?:[ \t]*=[ \t]*(?:([!#$%&'*+\-.^_`|~\w]+)|"([^"]*)"))?$/

/** At each separator outside quotes, in one pass: one expression for the whole field takes exponential time on nonsense. */
const split = (text: string, separator: string): Array<string> => {
  const parts: Array<string> = []
  let quoted = false
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (character === `"`) quoted = !quoted
    else if (quoted && character === "\\") i++
    else if (!quoted && character === separator) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

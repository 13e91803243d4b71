/**
 * Reads a dictionary of structured fields (RFC 9651): `u=1, i`, `a=(1 2);q="x"`.
 *
 * Strict as the standard asks: one mistake anywhere, and the whole field is as if absent (`undefined`). Parameters and
 * inner lists are checked and dropped, since nobody here asks for them. Of two members of one name the last counts.
 */

/** A bare item; what needs no telling apart here (tokens, bytes, dates, lists) is its source text. */
export type Item =
  | { readonly type: "integer"; readonly value: number }
  | { readonly type: "boolean"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "other"; readonly value: string }

const key = /[a-z*][a-z0-9_\-.*]*/y
const integer = /-?\d{1,15}(?![\d.])/y
const decimal = /-?\d{1,12}\.\d{1,3}(?!\d)/y
const string = /"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"/y
const token = /[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*/y
const binary = /:[A-Za-z0-9+/]*={0,2}:/y
const date = /@-?\d{1,15}(?![\d.])/y
const display = /%"(?:[\x20-\x21\x23-\x24\x26-\x7e]|%[0-9a-f]{2})*"/y
const boolean = /\?([01])/y
const spaces = / */y
const whitespace = /[ \t]*/y

/** The members of a dictionary, or `undefined` where the text is none. Several lines of a field are joined by `, ` before. */
export const dictionary = (text: string): ReadonlyMap<string, Item> | undefined => {
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at
    const found = pattern.exec(text)
    if (found === null) return undefined
    at += found[0].length
    return found
  }

  const item = (): Item | undefined => {
    let found: RegExpExecArray | undefined
    if ((found = take(integer))) return { type: "integer", value: Number(found[0]) }
    if ((found = take(boolean))) return { type: "boolean", value: found[1] === "1" }
    if ((found = take(string))) return { type: "string", value: found[1]!.replace(/\\(.)/g, "$1") }
    if ((found = take(decimal) ?? take(token) ?? take(binary) ?? take(date) ?? take(display))) {
      return { type: "other", value: found[0] }
    }
    return undefined
  }

  const parameters = (): boolean => {
    while (text[at] === ";") {
      at++
      take(spaces)
      if (!take(key)) return false
      if (text[at] !== "=") continue
      at++
      if (!item()) return false
    }
    return true
  }

  const innerList = (): Item | undefined => {
    const start = at++
    for (;;) {
      take(spaces)
      if (text[at] === ")") {
        at++
        return { type: "other", value: text.slice(start, at) }
      }
      if (!item() || !parameters() || (text[at] !== " " && text[at] !== ")")) return undefined
    }
  }

  const members = new Map<string, Item>()
  take(spaces)
  while (at < text.length) {
    const name = take(key)?.[0]
    if (name === undefined) return undefined
    let value: Item | undefined = { type: "boolean", value: true }
    if (text[at] === "=") {
      at++
      value = text[at] === "(" ? innerList() : item()
    }
    if (value === undefined || !parameters()) return undefined
    members.set(name, value)
    take(whitespace)
    if (at === text.length) return members
    if (text[at++] !== ",") return undefined
    take(whitespace)
    if (at === text.length) return undefined // A comma promises another member.
  }
  return members
}

/** A string item: `"80 per 1m"`. What a string may not hold becomes `?`. */
export const quote = (text: string): string => `"${text.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&")}"`

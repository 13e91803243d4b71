/**
 * Reads structured fields (RFC 9651): a dictionary, `u=1, i`, or a list of items, `"burst";q=100;w=60, "daily";q=1000`.
 *
 * Strict as the standard asks: one mistake anywhere, and the whole field is as if absent (`undefined`). Inner lists are checked and
 * kept as text, since nobody here asks for them; so are the parameters of a dictionary, which are dropped. Of two members or
 * parameters of one name the last counts. Several lines of a field are joined by `, ` before (`Transport.combined`).
 */

/** A bare item; what needs no telling apart here (tokens, bytes, dates, lists) is its source text. */
export type Item =
  | { readonly type: "integer"; readonly value: number }
  | { readonly type: "boolean"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "other"; readonly value: string }

/** An item of a list. */
export interface Member {
  readonly item: Item
  readonly parameters: ReadonlyMap<string, Item>
}

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

const isTrue: Item = { type: "boolean", value: true }

class Reader {
  at = 0
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)
    if (found === null) return undefined
    this.at += found[0].length
    return found
  }

  item(): Item | undefined {
    let found: RegExpExecArray | undefined
    if ((found = this.take(integer))) return { type: "integer", value: Number(found[0]) }
    if ((found = this.take(boolean))) return { type: "boolean", value: found[1] === "1" }
    if ((found = this.take(string))) return { type: "string", value: found[1]!.replace(/\\(.)/g, "$1") }
    if (
      (found = this.take(decimal) ?? this.take(token) ?? this.take(binary) ?? this.take(date) ?? this.take(display))
    ) {
      return { type: "other", value: found[0] }
    }
    return undefined
  }

  itemOrInnerList(): Item | undefined {
    return this.text[this.at] === "(" ? this.innerList() : this.item()
  }

  parameters(): ReadonlyMap<string, Item> | undefined {
    const all = new Map<string, Item>()
    while (this.text[this.at] === ";") {
      this.at++
      this.take(spaces)
      const name = this.take(key)?.[0]
      if (name === undefined) return undefined
      const value = this.assigned(() => this.item())
      if (value === undefined) return undefined
      all.set(name, value)
    }
    return all
  }

  /** What follows a key: `=` and a value, or nothing, which is true. */
  assigned(value: () => Item | undefined): Item | undefined {
    if (this.text[this.at] !== "=") return isTrue
    this.at++
    return value()
  }

  innerList(): Item | undefined {
    const start = this.at++
    for (;;) {
      this.take(spaces)
      if (this.text[this.at] === ")") {
        this.at++
        return { type: "other", value: this.text.slice(start, this.at) }
      }
      if (!this.item() || !this.parameters() || (this.text[this.at] !== " " && this.text[this.at] !== ")")) {
        return undefined
      }
    }
  }

  /** One member after another until the end of the text; whether all of it was as it should be. */
  members(member: () => boolean): boolean {
    this.take(spaces)
    while (this.at < this.text.length) {
      if (!member()) return false
      this.take(whitespace)
      if (this.at === this.text.length) return true
      if (this.text[this.at++] !== ",") return false
      this.take(whitespace)
      if (this.at === this.text.length) return false // A comma promises another member.
    }
    return true
  }
}

/** The members of a dictionary, or `undefined` where the text is none. */
export const dictionary = (text: string): ReadonlyMap<string, Item> | undefined => {
  const reader = new Reader(text)
  const members = new Map<string, Item>()
  const whole = reader.members(() => {
    const name = reader.take(key)?.[0]
    if (name === undefined) return false
    const value = reader.assigned(() => reader.itemOrInnerList())
    if (value === undefined || !reader.parameters()) return false
    members.set(name, value)
    return true
  })
  return whole ? members : undefined
}

/** The items of a list, or `undefined` where the text is none. */
export const list = (text: string): ReadonlyArray<Member> | undefined => {
  const reader = new Reader(text)
  const members: Array<Member> = []
  const whole = reader.members(() => {
    const item = reader.itemOrInnerList()
    const parameters = item && reader.parameters()
    if (parameters === undefined) return false
    members.push({ item: item!, parameters })
    return true
  })
  return whole ? members : undefined
}

/** A string item: `"80 per 1m"`. What a string may not hold becomes `?`. */
export const quote = (text: string): string => `"${text.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&")}"`

/** `Priority: u=1` (RFC 9218): how urgent a call is. */
import type { Priority } from "@fairlead/core"
import { StructuredField } from "@fairlead/core/http"

/** The urgency that a field asks for; `undefined` where it says nothing of it; `"bad"` where it is none, or out of range. */
export const urgency = (field: string): Priority.Urgency | undefined | "bad" => {
  // What nearly every client sends needs no parser.
  if (field.length === 3 && field.startsWith("u=")) {
    const digit = field.charCodeAt(2) - 48
    return digit >= 0 && digit <= 7 ? (digit as Priority.Urgency) : "bad"
  }
  const members = StructuredField.dictionary(field)
  if (members === undefined) return "bad"
  const u = members.get("u")
  if (u === undefined) return undefined
  return u.type === "integer" && u.value >= 0 && u.value <= 7 ? (u.value as Priority.Urgency) : "bad"
}

/**
 * Whether what a fiber does may wait at a gate. A hedge may not: it is worth having only if there is room for it, and must
 * not stand in line before somebody's first attempt.
 */
import { Context } from "effect"

export const Patient: Context.Reference<boolean> = Context.Reference<boolean>("fairlead/Patient", {
  defaultValue: () => true
})

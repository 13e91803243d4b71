/** Whether what a fiber does was accepted: then it passes every edge to its end. */
import { Context } from "effect"

export const Accepted: Context.Reference<boolean> = Context.Reference<boolean>("@fairlead/core/Accepted", {
  defaultValue: () => false
})

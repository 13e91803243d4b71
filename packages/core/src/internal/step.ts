/**
 * What is itself an effect: one object less for each that waits. Subclasses say what it does in `enter`.
 *
 * (Effect asks for a prototype where one would write `extends`.)
 */
import { Effectable } from "effect"
import type { Effect } from "effect"

interface Step {
  enter(): Effect.Effect<any, any, any>
}

export const Step = function () {} as unknown as new () => object
Step.prototype = Effectable.Prototype<any>({
  label: "Step",
  evaluate(this: Step) {
    return this.enter()
  }
})

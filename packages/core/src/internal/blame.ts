/** Which child a failure came from: its name rides on each reason of the cause, and shows in the printed stack. */
import { Cause, Context, Exit } from "effect"
import type { References } from "effect"

/** The path of names from the outermost nursery's child to the innermost, e.g. `import/page 3`. */
export class ChildName extends Context.Service<ChildName, string>()("@fairlead/core/Nursery/ChildName") {}

/** A failure with a word on it, which shows at the end of its printed stack. */
export const note = <E>(cause: Cause.Cause<E>, word: string): Cause.Cause<E> =>
  Cause.fromReasons(
    cause.reasons.map((reason) => {
      const frame = Context.getOrUndefined(Cause.reasonAnnotations(reason), Cause.StackTrace)
      const context = Context.make(Cause.StackTrace, under(frame, word)) as Context.Context<never>
      return reason.annotate(context, { overwrite: true })
    })
  )

interface Blamed {
  readonly name: string
  /** How people read it, e.g. `child orders`. */
  readonly label: string
}

/** A failure under the name of the child in which it happened. */
export const blame = <A, E>(exit: Exit.Exit<A, E>, child: Blamed): Exit.Exit<A, E> =>
  Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? exit : Exit.failCause(blameIn(exit.cause, child))

export const blameIn = <E>(cause: Cause.Cause<E>, child: Blamed): Cause.Cause<E> =>
  Cause.fromReasons(cause.reasons.map((reason) => (Cause.isInterruptReason(reason) ? reason : blameFor(reason, child))))

const blameFor = <E>(reason: Cause.Reason<E>, { label, name }: Blamed): Cause.Reason<E> => {
  const annotations = Cause.reasonAnnotations(reason)
  const inner = Context.getOrUndefined(annotations, ChildName)
  const frame = Context.getOrUndefined(annotations, Cause.StackTrace)
  const context = Context.make(ChildName, inner === undefined ? name : `${name}/${inner}`).pipe(
    Context.add(Cause.StackTrace, under(frame, label))
  )
  return reason.annotate(context as Context.Context<never>, { overwrite: true })
}

/** The printed stack ends with the child. */
const under = (frame: References.StackFrame | undefined, label: string): References.StackFrame =>
  frame === undefined
    ? { name: label, stack: () => undefined, parent: undefined }
    : { name: frame.name, stack: frame.stack, parent: under(frame.parent, label) }

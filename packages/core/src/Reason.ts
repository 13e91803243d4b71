/**
 * Why a region was cut.
 *
 * An interrupt in Effect says only *that* a fiber must end. A reason says why: it stands in the region that was cut,
 * where every finalizer below can read it, and rides on the interrupt as an annotation of the cause. The first reason
 * given to a region wins.
 */
import { Context, Data } from "effect"

/** The region's time was up. */
export class Deadline extends Data.TaggedClass("Deadline")<{}> {}
/** Whoever asked for the work has left. */
export class ClientGone extends Data.TaggedClass("ClientGone")<{}> {}
/** The process, or the part of it that owns the work, is stopping. */
export class Shutdown extends Data.TaggedClass("Shutdown")<{}> {}
/** Another child of the same block failed. */
export class SiblingFailed extends Data.TaggedClass("SiblingFailed")<{ readonly child: string }> {}
/** Somebody said so. */
export class Manual extends Data.TaggedClass("Manual")<{ readonly text: string }> {}

export type Reason = Deadline | ClientGone | Shutdown | SiblingFailed | Manual

/** A reason, or the text of one that somebody gives by hand. */
export const from = (reason: Reason | string): Reason =>
  typeof reason === "string" ? new Manual({ text: reason }) : reason

/** A reason in words, e.g. `SiblingFailed: orders`. */
export const format = (reason: Reason): string => {
  if (reason._tag === "SiblingFailed") return `SiblingFailed: ${reason.child}`
  return reason._tag === "Manual" ? `Manual: ${reason.text}` : reason._tag
}

/** The annotation under which a reason rides on an interrupt; read it with `Cause.annotations`. */
export class Annotation extends Context.Service<Annotation, Reason>()("@fairlead/core/Reason") {}

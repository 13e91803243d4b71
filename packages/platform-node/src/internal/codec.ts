/**
 * How values of a schema are sent to a worker and back: in their encoded form, as `structuredClone` would copy it.
 *
 * What that knows (dates, bytes, maps, sets, bigints) is sent as it is. A schema whose encoded form has other classes in it (`Option`,
 * `Duration`) is sent as its JSON codec writes it, bytes included.
 */
import type { SchemaAST } from "effect"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type { Codec } from "../CpuJob.ts"

export interface Coding {
  /** Throws what says where a value is wrong. */
  readonly encode: (value: unknown) => unknown
  readonly decode: (value: unknown) => unknown
  readonly is: (value: unknown) => boolean
  /** Whether there may be bytes in what is sent. */
  readonly bytes: boolean
}

const known = new WeakMap<object, Coding>()

export const of = (schema: Codec<any>): Coding => {
  let coding = known.get(schema)
  if (coding === undefined) known.set(schema, (coding = make(schema)))
  return coding
}

const make = (schema: Codec<any>): Coding => {
  const found = look(AST.toEncoded(schema.ast), new Set())
  const codec = found === "classes" ? Schema.toCodecJson(schema) : schema
  return {
    encode: Schema.encodeUnknownSync(codec) as (value: unknown) => unknown,
    decode: Schema.decodeUnknownSync(codec) as (value: unknown) => unknown,
    is: Schema.is(schema),
    bytes: found === "bytes"
  }
}

/** The worst of what there is in an encoded form. */
type Found = "plain" | "bytes" | "classes"

const look = (ast: SchemaAST.AST, seen: Set<SchemaAST.AST>): Found => {
  if (seen.has(ast)) return "plain"
  seen.add(ast)
  const all = (parts: ReadonlyArray<SchemaAST.AST>): Found => {
    const found = new Set(parts.map((part) => look(part, seen)))
    if (found.has("classes")) return "classes"
    return found.has("bytes") ? "bytes" : "plain"
  }
  switch (ast._tag) {
    case "Declaration":
      return isClonable(ast) ? all([...ast.typeParameters, AST.unknown]) : "classes"
    case "Arrays":
      return all([...ast.elements, ...ast.rest])
    case "Objects":
      return all([...ast.propertySignatures.map(({ type }) => type), ...ast.indexSignatures.map(({ type }) => type)])
    case "Union":
      return all(ast.types)
    case "Suspend":
      return look(ast.thunk(), seen)
    case "Unknown":
    case "Any":
    case "ObjectKeyword":
      return "bytes"
    default:
      return "plain"
  }
}

const clonable = new Set(["Date", "Uint8Array", "ReadonlyMap", "ReadonlySet"].map((name) => `effect/schema/${name}`))

/** One without a codec of its own is what `structuredClone` makes of it: `Schema.instanceOf(Float64Array)`. */
const isClonable = ({ annotations = {} }: SchemaAST.Declaration): boolean => {
  const { representation, toCodec, toCodecJson } = annotations as Annotations
  return (toCodec ?? toCodecJson) === undefined || clonable.has(representation?.id ?? "")
}

interface Annotations {
  readonly representation?: { readonly id: string }
  readonly toCodec?: unknown
  readonly toCodecJson?: unknown
}

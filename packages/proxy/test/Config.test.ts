import { readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import { JsonSchema, Result, Schema, SchemaRepresentation } from "effect"
import { parse } from "yaml"
import * as Config from "../src/Config.ts"
import * as Demo from "../src/Demo.ts"

// The JSON Schema, read back: what an editor makes of it.
const editor = Schema.decodeUnknownResult(
  SchemaRepresentation.fromJsonSchemaDocument(
    JsonSchema.fromSchemaDraft2020_12(Config.jsonSchema() as JsonSchema.JsonSchema)
  ) as Schema.Codec<unknown>,
  { errors: "all", onExcessProperty: "error" }
)
const isFine = (config: unknown) => Result.isSuccess(editor(config))

const yamlOf = (page: string) =>
  [...readFileSync(new URL(`../../../docs/${page}`, import.meta.url), "utf8").matchAll(/```yaml\n(.*?)```/gs)].map(
    ([, source]) => parse(source!, { merge: true }) as { upstreams: Record<string, object> }
  )

describe("the JSON Schema", () => {
  it("takes the shipped config, and what the docs show", () => {
    expect(isFine(parse(readFileSync(Demo.config, "utf8")))).toBe(true)
    for (const config of yamlOf("config.md")) expect(editor(config)).toMatchObject({ _tag: "Success" })
  })

  it.each([
    ["a misspelt key", { upstreams: { a: { url: "https://a", concurency: 1 } } }],
    ["no upstreams", {}],
    ["an upstream without a url", { upstreams: { a: {} } }],
    ["a size without a unit", { upstreams: { a: { url: "https://a", queue: { bytes: 64 } } } }],
    ["a timeout without a unit", { upstreams: { a: { url: "https://a", timeout: 30 } } }],
    ["no calls at once", { upstreams: { a: { url: "https://a", concurrency: 0 } } }],
    ["an unknown overflow", { upstreams: { a: { url: "https://a", queue: { overflow: "drop" } } } }],
    [
      "a concurrency without a bound",
      { upstreams: { a: { url: "https://a", concurrency: { adaptive: { min: 1 } } } } }
    ],
    ["a share of nothing", { upstreams: { a: { url: "https://a", shares: { 0: 0 } } } }],
    ["shares by another word", { upstreams: { a: { url: "https://a", shares: "fair" } } }],
    [
      "a rate that counts nothing",
      { upstreams: { a: { url: "https://a", rate: { limit: 1, per: "1 s", counts: "x" } } } }
    ],
    ["a header as a number", { upstreams: { a: { url: "https://a", headers: { a: 1 } } } }]
  ])("marks %s", (_, config) => {
    expect(isFine(config)).toBe(false)
    // Whatever it marks, the decoder does too.
    expect(Result.isFailure(Config.decode(config))).toBe(true)
  })

  it("describes every key", () => {
    const undescribed: Array<string> = []
    const look = (schema: any, path: string) => {
      for (const [name, property] of Object.entries<any>(schema.properties ?? {})) {
        if (property.description === undefined) undescribed.push(`${path}.${name}`)
        look(property, `${path}.${name}`)
      }
      for (const member of schema.anyOf ?? []) look(member, path)
      if (typeof schema.additionalProperties === "object") look(schema.additionalProperties, `${path}.*`)
    }
    look(Config.jsonSchema(), "")
    expect(undescribed).toEqual([])
  })
})

describe("the page on the config", () => {
  it("has a row for every key, and for no other", () => {
    const keys = (schema: any, path: string): ReadonlyArray<string> => [
      ...Object.entries<any>(schema.properties ?? {}).flatMap(([name, property]) => {
        const here = `${path}${name}`
        const below = [property, ...(property.anyOf ?? [])].flatMap((it) => keys(it, `${here}.`))
        // A rate's own keys have a section of their own; a queue and cooling are nothing but their keys.
        return name === "rate" ? [here] : name === "queue" || name === "cooling" ? below : [here, ...below]
      }),
      ...(typeof schema.additionalProperties === "object" ? keys(schema.additionalProperties, `${path}*.`) : [])
    ]
    const page = readFileSync(new URL("../../../docs/config.md", import.meta.url), "utf8")
    const table = page.slice(page.indexOf("## Every key"), page.indexOf("## Values"))
    const rows = [...table.matchAll(/^\| `([a-zA-Z.*]+)` \|/gm)].map(([, key]) => key!)
    expect(rows).toEqual([...new Set(keys(Config.jsonSchema(), ""))])
  })
})

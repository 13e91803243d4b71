import { Result } from "effect"
import { expect, it } from "vitest"
import * as Where from "../../src/inspect/Where.ts"

it.each([
  ["http://127.0.0.1:8081", "http://127.0.0.1:8081"],
  ["HTTPS://Ops.Example.com/", "https://ops.example.com"],
  ["127.0.0.1:9000", "http://127.0.0.1:9000"],
  [":9000", "http://127.0.0.1:9000"],
  ["9000", "http://127.0.0.1:9000"],
  ["[::1]:9000", "http://[::1]:9000"]
])("--admin %s", (text, url) => expect(Where.ofFlag(text)).toEqual(Result.succeed(url)))

it.each([
  "",
  "nonsense",
  "ftp://a",
  "http://",
  "http://a/statistics",
  "http://a?x",
  "http://user:pass@a",
  "a b:1",
  "99999"
])("--admin %s is none", (text) => expect(Result.isFailure(Where.ofFlag(text))).toBe(true))

it.each([
  ["admin: 127.0.0.1:9000", "http://127.0.0.1:9000"],
  ["admin: 9000\nupstreams: { a: { url: https://a, headers: { x: '${SECRET}' } } }", "http://127.0.0.1:9000"],
  ['admin: ":${PORT}"', "http://127.0.0.1:7000"],
  ['admin: "[::]:9000"', "http://127.0.0.1:9000"],
  ["listen: 8080", undefined],
  ['admin: ":${NOBODY}"', undefined],
  ["admin: [1]", undefined],
  ["admin: nonsense", undefined],
  ["admin: 'open", undefined],
  ["- 1", undefined],
  ["", undefined]
])("the admin of %j", (text, url) => expect(Where.ofConfig(text, { PORT: "7000" })).toBe(url))

import { describe, expect, it } from "@effect/vitest"
import * as Target from "../src/Target.ts"

describe("Target", () => {
  it.each([
    ["/github/repos/x?y=1&z=%2e%2e", "github", "/repos/x", "?y=1&z=%2e%2e"],
    ["/github", "github", "", ""],
    ["/github?x", "github", "", "?x"],
    ["/github/", "github", "/", ""],
    ["/", "", "", ""],
    ["/gitlab/projects/group%2Fname", "gitlab", "/projects/group%2Fname", ""],
    ["/files/.hidden/a..b/...", "files", "/.hidden/a..b/...", ""],
    ["/s3/bucket//key", "s3", "/bucket//key", ""],
    ["/x/a;v=1/b:c@d?../..", "x", "/a;v=1/b:c@d", "?../.."],
    ["/x/100%25", "x", "/100%25", ""]
  ])("%s goes on byte for byte", (target, upstream, rest, query) => {
    expect(Target.parse(target)).toEqual({ _tag: "Target", upstream, rest, query })
  })

  it.each([
    "/github/..",
    "/github/../admin",
    "/github/./x",
    "/../github",
    "/github/a/%2e%2e/b",
    "/github/%2E./b",
    "/github/.%2e",
    "/github/a%2f..%2fb",
    "/github/a%2F%2e%2e",
    "/github/%252e%252e/x",
    "/github/a%252f..",
    "/github/..;/x",
    "/github/..%3b/x",
    "/github/..%2fx",
    "/github/a\\..\\b",
    "/github/a%5c..",
    "/github/a%255c",
    "/github/%c0%ae%c0%ae/",
    "/github/\xc0\xae/",
    "/github/x%00",
    "/github/x%0d%0aHost:%20y",
    "/github/%zz",
    "/github/x%",
    "/github//evil.example/x",
    "/github/x#y",
    "/github/x?y#z",
    "/github/a b",
    "/github/a\tb",
    "/github/\x7f",
    "/github/\u0100",
    "http://localhost/github/x",
    "localhost:443",
    "*",
    "",
    "github/x"
  ])("%s is refused", (target) => {
    expect(Target.parse(target)._tag).toBe("Malformed")
  })

  it("keeps the values of a query out of the log", () => {
    expect(Target.forLog("/x/y")).toBe("/x/y")
    expect(Target.forLog("/x?key=secret&a=b=c&token&=v")).toBe("/x?key=&a=&&=")
  })
})

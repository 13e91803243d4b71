import { describe, expect, it } from "@effect/vitest"
import * as Verdict from "../src/Verdict.ts"

describe("the verdict of an end", () => {
  it("is overload where the upstream says so, and ok for every other answer", () => {
    for (const status of [429, 503, 504]) expect(Verdict.ofStatus(status)).toBe("overload")
    for (const status of [200, 204, 304, 400, 404, 500, 502]) expect(Verdict.ofStatus(status)).toBe("ok")
  })

  it("is overload where an answer should be and is none, and nothing where nobody was reached to say it", () => {
    for (const kind of ["refused", "unreachable", "connectTimeout", "reset", "incomplete", "headersTimeout"] as const)
      expect(Verdict.ofKind(kind)).toBe("overload")
    for (const kind of ["dns", "tls", "protocol", "requestBody", "closed"] as const)
      expect(Verdict.ofKind(kind)).toBe("ignore")
  })
})

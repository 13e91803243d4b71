import { describe, expect, it } from "@effect/vitest"
import { ProxyStatus } from "@fairlead/core/http"

const of = (...lines: ReadonlyArray<string>) => ProxyStatus.refusal(lines.flatMap((line) => ["Proxy-Status", line]))

describe("ProxyStatus", () => {
  it("tells what a proxy on the way has refused, and whether it had sent it before", () => {
    expect(of("fairlead; error=proxy_internal_response")).toBe("unsent")
    expect(of("fairlead; error=connection_limit_reached")).toBe("sent")
    expect(of("edge; received-status=429", "fairlead; error=proxy_internal_response")).toBe("unsent")
  })

  it("takes no other word for a refusal", () => {
    expect(of()).toBeUndefined()
    expect(of("edge; received-status=429")).toBeUndefined()
    expect(of("edge; error=http_response_timeout")).toBeUndefined()
  })
})

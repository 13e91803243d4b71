import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import * as framing from "../../src/internal/framing.ts"
import { kindOf } from "../../src/internal/failures.ts"

describe("framing", () => {
  it("keeps a request's headers as they are where nothing is of this hop", () => {
    const request = { method: "GET", target: "/", headers: ["X-One", "1", "x-one", "2"], body: Transport.empty }
    expect(framing.ofRequest(request)).toBe(request.headers)
  })

  it("takes out of a request what is of this hop, and says how long a streamed body is", () => {
    const headers = ["Connection", "a", "A", "1", "EXPECT", "x", "Keep-Alive", "y", "content-length", "9", "B", "2"]
    const body = { ...Transport.empty, bytes: undefined, length: 3 }
    const request = { method: "POST", target: "/", headers, body }
    expect(framing.ofRequest(request)).toEqual(["A", "1", "B", "2", "content-length", "3"])
  })

  it("lets an answer say no other length than its body has, and that once", () => {
    const headers = ["Content-Length", "3", "A", "1", "content-length", "3", "Transfer-Encoding", "chunked"]
    expect(framing.ofReply(headers, 3, false)).toEqual(["Content-Length", "3", "A", "1"])
    expect(framing.ofReply(headers, 4, false)).toEqual(["A", "1", "Content-Length", "4"])
    expect(framing.ofReply(headers, undefined, false)).toEqual(["A", "1"])
  })

  it("leaves an answer without a body the length that it would have had", () => {
    expect(framing.ofReply(["Content-Length", "99"], 0, true)).toEqual(["Content-Length", "99"])
    expect(framing.ofReply([], 0, true)).toEqual([])
  })
})

describe("failures", () => {
  it("tells a peer that hangs up before the head from one that does in mid-answer", () => {
    const closed = Object.assign(new Error("other side closed"), { code: "UND_ERR_SOCKET" })
    expect([kindOf(closed, false), kindOf(closed, true)]).toEqual(["reset", "incomplete"])
    const broken = Object.assign(new Error("bad response"), { code: "UND_ERR_SOCKET" })
    expect(kindOf(broken, false)).toBe("protocol")
  })

  it("looks into a failure of several addresses", () => {
    const refused = Object.assign(new Error("connect"), { code: "ECONNREFUSED" })
    expect(kindOf(new AggregateError([refused, refused]), false)).toBe("refused")
  })

  it("takes what it does not know for a broken protocol, and knows TLS by its prefixes", () => {
    expect(kindOf(undefined, false)).toBe("protocol")
    expect(kindOf(new TypeError("?"), false)).toBe("protocol")
    for (const code of ["CERT_HAS_EXPIRED", "DEPTH_ZERO_SELF_SIGNED_CERT", "ERR_TLS_CERT_ALTNAME_INVALID"]) {
      expect(kindOf(Object.assign(new Error(), { code }), false)).toBe("tls")
    }
  })
})

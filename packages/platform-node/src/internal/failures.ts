/** What undici, Node's sockets and OpenSSL call their errors, in the words of `Transport`. Pure. */
import type { Transport } from "@fairlead/core"

const kinds: { readonly [code: string]: Transport.Kind } = {
  ECONNREFUSED: "refused",
  ENOTFOUND: "dns",
  EAI_AGAIN: "dns",
  EAI_FAIL: "dns",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  EADDRNOTAVAIL: "unreachable",
  ETIMEDOUT: "unreachable",
  EACCES: "unreachable",
  UND_ERR_CONNECT_TIMEOUT: "connectTimeout",
  ECONNRESET: "reset",
  EPIPE: "reset",
  ECONNABORTED: "reset",
  ERR_HTTP2_GOAWAY_SESSION: "reset",
  ERR_HTTP2_INVALID_SESSION: "reset",
  UND_ERR_HEADERS_TIMEOUT: "headersTimeout",
  UND_ERR_BODY_TIMEOUT: "idleTimeout",
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: "requestBody",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "incomplete",
  HPE_INVALID_EOF_STATE: "incomplete",
  UND_ERR_DESTROYED: "closed",
  UND_ERR_CLOSED: "closed",
  EPROTO: "tls"
}

/** The request's own body failed; undici hands this error back as it got it. */
export class RequestBodyFailed extends Error {}

/** A forward proxy did not let it through. */
export class ProxyRefused extends Error {}

/** A stream of HTTP/2 ended before its answer had. `unsent`: the other side has promised that it took no notice of it. */
export class StreamReset extends Error {
  readonly kind: Transport.Kind
  readonly unsent: boolean
  constructor(message: string, kind: Transport.Kind, unsent: boolean) {
    super(message)
    this.kind = kind
    this.unsent = unsent
  }
}

const tls =
  /^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH)/

/** `headSeen`: a connection that ends orderly in mid-answer leaves it incomplete; before that, it is a reset. */
export const kindOf = (error: unknown, headSeen: boolean): Transport.Kind => {
  if (error instanceof RequestBodyFailed) return "requestBody"
  if (error instanceof ProxyRefused) return "proxy"
  if (error instanceof StreamReset) return error.kind
  const { code, message } = (typeof error === "object" && error !== null ? error : {}) as Partial<NodeJS.ErrnoException>
  // Of a name with several addresses, each of which was tried.
  if (code === undefined && error instanceof AggregateError) return kindOf(error.errors[0], headSeen)
  if (code === undefined) return "protocol"
  // undici compares what it got with what a head said that it could not even read.
  if (code === "UND_ERR_RES_CONTENT_LENGTH_MISMATCH" && !headSeen) return "protocol"
  const kind = kinds[code]
  if (kind !== undefined) return kind
  if (tls.test(code)) return "tls"
  // undici's one code for a peer that closed, and for one that talks out of turn ("bad response", "bad upgrade").
  if (code === "UND_ERR_SOCKET" && !message?.startsWith("bad ")) return headSeen ? "incomplete" : "reset"
  return "protocol"
}

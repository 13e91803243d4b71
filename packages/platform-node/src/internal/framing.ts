/** Which headers go on to the next hop, and how long a message says that it is: as long as its body. Pure. */
import type { Transport } from "@fairlead/core"

export const bodyless = (method: string, status: number): boolean =>
  method === "HEAD" || status === 204 || status === 304

/** The headers without what belongs to this hop, which undici refuses, and with the length that the body has. */
export const ofRequest = ({ body, headers }: Transport.Request): Transport.Headers => {
  const streamsKnownLength = body.bytes === undefined && body.length !== undefined
  let clean = !streamsKnownLength
  for (let i = 0; clean && i < headers.length; i += 2) clean = !isFraming(headers[i]!)
  if (clean) return headers
  const result: Array<string> = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!isFraming(headers[i]!)) result.push(headers[i]!, headers[i + 1]!)
  }
  if (streamsKnownLength) result.push("content-length", `${body.length}`)
  return result
}

const framing = new Set(["expect", "upgrade", "connection", "keep-alive", "content-length", "transfer-encoding"])

const isFraming = (name: string): boolean => {
  switch (name.length) {
    case 6:
    case 7:
    case 10:
    case 14:
    case 17:
      return framing.has(name.toLowerCase())
    default:
      return false
  }
}

/** The headers without what belongs to the hop before, and with the length that the body has. */
export const ofReply = (
  headers: Transport.Headers,
  length: number | undefined,
  bodyless: boolean
): Transport.Headers => {
  const result: Array<string> = []
  let lengthSaid = bodyless
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    switch (name.length) {
      case 7:
      case 10:
      case 17:
        if (hop.has(name.toLowerCase())) continue
        break
      case 14:
        if (name.toLowerCase() === "content-length") {
          // Of an answer without a body, it says how long the body would have been.
          if (!bodyless && (lengthSaid || Number(headers[i + 1]) !== length)) continue
          lengthSaid = true
        }
    }
    result.push(name, headers[i + 1]!)
  }
  if (!lengthSaid && length !== undefined) result.push("Content-Length", `${length}`)
  return result
}

const hop = new Set(["upgrade", "connection", "keep-alive", "transfer-encoding"])

/**
 * A certificate authority of its own, and a certificate by it for `localhost` and 127.0.0.1, made on the spot: nothing
 * secret lies in a repository, nothing expires, and no `openssl` has to be there.
 */
import { createSign, generateKeyPairSync } from "node:crypto"
import type { KeyObject } from "node:crypto"

export interface Certificates {
  /** The authority's certificate: for `NODE_EXTRA_CA_CERTS`. PEM, as the others. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export const make = (): Certificates => {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const server = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const issuer = "Fairlead test authority"
  return {
    ca: certificate(1, issuer, issuer, authority.publicKey, authority.privateKey, [isAuthority]),
    cert: certificate(2, issuer, "localhost", server.publicKey, authority.privateKey, [names]),
    key: server.privateKey.export({ type: "pkcs8", format: "pem" }) as string
  }
}

// X.509 (RFC 5280) in DER, no more than this needs.

const certificate = (
  serial: number,
  issuer: string,
  subject: string,
  publicKey: KeyObject,
  signer: KeyObject,
  extensions: ReadonlyArray<Buffer>
): string => {
  const day = 86_400_000
  const validity = sequence(time(Date.now() - day), time(Date.now() + 30 * day))
  const content = sequence(
    tagged(0xa0, integer(2)),
    integer(serial),
    ecdsaWithSha256,
    name(issuer),
    validity,
    name(subject),
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(...extensions))
  )
  const signature = createSign("sha256").update(content).sign(signer)
  const der = sequence(content, ecdsaWithSha256, tagged(0x03, Buffer.from([0]), signature))
  const lines = der.toString("base64").match(/.{1,64}/g)!
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`
}

const tagged = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(parts)
  const length =
    content.length < 128
      ? [content.length]
      : content.length < 256
        ? [0x81, content.length]
        : [0x82, content.length >> 8, content.length & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}

const sequence = (...parts: ReadonlyArray<Uint8Array>) => tagged(0x30, ...parts)
const integer = (value: number) => tagged(0x02, Buffer.from([value]))
const octets = (content: Buffer) => tagged(0x04, content)
const oid = (hex: string) => tagged(0x06, Buffer.from(hex, "hex"))
const time = (millis: number) =>
  tagged(0x17, Buffer.from(`${new Date(millis).toISOString().replace(/[-:T]/g, "").slice(2, 14)}Z`))
const name = (common: string) => sequence(tagged(0x31, sequence(oid("550403"), tagged(0x0c, Buffer.from(common)))))
const extension = (id: string, content: Buffer) => sequence(oid(id), octets(content))

const ecdsaWithSha256 = sequence(oid("2a8648ce3d040302"))
const isAuthority = extension("551d13", sequence(tagged(0x01, Buffer.from([0xff]))))
/** Subject alternative names: a DNS name, and an address. */
const names = extension(
  "551d11",
  sequence(tagged(0x82, Buffer.from("localhost")), tagged(0x87, Buffer.from([127, 0, 0, 1])))
)

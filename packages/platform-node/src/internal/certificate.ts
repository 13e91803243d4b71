/**
 * A certificate and its key, from two files in PEM: read, checked, and read again when they change.
 *
 * The kernel says when that is: nothing polls, and what watches does not keep the process. It watches the folders of the files, not
 * the files: these are replaced by others of their name, and Kubernetes swaps a link beside them for a new folder. No message holds
 * anything of a key.
 */
import { Data, Effect } from "effect"
import type { Scope } from "effect"
import { createPrivateKey, X509Certificate } from "node:crypto"
import type { KeyObject } from "node:crypto"
import { watch } from "node:fs"
import { readFile } from "node:fs/promises"
import { dirname, resolve } from "node:path"
import { createSecureContext } from "node:tls"

export interface Files {
  readonly certFile: string
  readonly keyFile: string
}

/** A certificate and its key cannot be taken. */
export class TlsFailed extends Data.TaggedError("TlsFailed")<{
  readonly reason: "unreadable" | "noCertificate" | "noKey" | "mismatch" | "refused"
  readonly file: string
  readonly found: string
}> {
  override get message(): string {
    const expected = {
      unreadable: "a file that can be read",
      noCertificate: "a certificate in PEM, and those that vouch for it behind it",
      noKey: "a private key in PEM, and no passphrase",
      mismatch: "the key of the certificate",
      refused: "a certificate that OpenSSL takes"
    }
    return `${this.file}: expected ${expected[this.reason]}, found ${this.found}`
  }
}

export interface Pair {
  readonly cert: string
  readonly key: string
  readonly validFrom: Date
  readonly validTo: Date
}

/** Reads the pair, and sees that it is one. */
export const load = ({ certFile, keyFile }: Files): Effect.Effect<Pair, TlsFailed> =>
  Effect.flatMap(Effect.all([read(certFile), read(keyFile)], { concurrency: 2 }), ([cert, key]) =>
    Effect.try({ try: () => check(cert, key, { certFile, keyFile }), catch: (error) => error as TlsFailed })
  )

const read = (file: string): Effect.Effect<string, TlsFailed> =>
  Effect.tryPromise({
    try: () => readFile(file, "utf8"),
    catch: (cause) => new TlsFailed({ reason: "unreadable", file, found: codeOf(cause) })
  })

const check = (cert: string, key: string, { certFile, keyFile }: Files): Pair => {
  const chain = cert.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (chain.length === 0) throw new TlsFailed({ reason: "noCertificate", file: certFile, found: found(cert) })
  const [leaf] = chain.map((one, i) => {
    try {
      return new X509Certificate(one)
    } catch (cause) {
      const which = chain.length === 1 ? "" : ` as number ${i + 1} of ${chain.length}`
      throw new TlsFailed({
        reason: "noCertificate",
        file: certFile,
        found: `one that is broken${which}: ${codeOf(cause)}`
      })
    }
  })
  const secret = keyOf(key, keyFile)
  if (!leaf!.checkPrivateKey(secret)) {
    const subject = leaf!.subject?.replaceAll("\n", ", ") ?? "nobody"
    throw new TlsFailed({ reason: "mismatch", file: keyFile, found: `that of another than ${subject} in ${certFile}` })
  }
  try {
    createSecureContext({ cert, key })
  } catch (cause) {
    throw new TlsFailed({ reason: "refused", file: certFile, found: codeOf(cause) })
  }
  return { cert, key, validFrom: new Date(leaf!.validFrom), validTo: new Date(leaf!.validTo) }
}

const keyOf = (key: string, file: string): KeyObject => {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(key)) {
    throw new TlsFailed({ reason: "noKey", file, found: "one that asks for a passphrase" })
  }
  try {
    return createPrivateKey(key)
  } catch {
    throw new TlsFailed({ reason: "noKey", file, found: found(key) })
  }
}

/** What a text holds, as far as its labels say. */
const found = (text: string): string => {
  const labels = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----/g)].map(([, label]) => label!)
  return text.trim() === "" ? "nothing" : labels.length === 0 ? "no PEM" : [...new Set(labels)].join(", ")
}

/** The code of an error, and none of its words: who knows what they quote. */
const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "an unknown error"

/** Runs `changed` when something has happened in the folders of the files, and then nothing for a moment. */
export const watched = ({ certFile, keyFile }: Files, changed: () => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    let timer: NodeJS.Timeout | undefined
    let since: number | undefined
    const soon = () => {
      const now = performance.now()
      since ??= now
      clearTimeout(timer)
      // Other things may happen in the folder, too, and without a pause.
      timer = setTimeout(look, Math.min(quietMillis, since + longestMillis - now)).unref()
    }
    const look = () => {
      since = undefined
      changed()
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => clearTimeout(timer)))
    for (const folder of new Set([certFile, keyFile].map((file) => dirname(resolve(file))))) {
      try {
        // One that fails later has lost its folder. Then `reload` is what is left.
        const watcher = watch(folder, { persistent: false }, soon).on("error", () => {})
        yield* Effect.addFinalizer(() => Effect.sync(() => watcher.close()))
      } catch (cause) {
        yield* Effect.logWarning(`A new certificate will not be seen: ${folder} cannot be watched (${codeOf(cause)})`)
      }
    }
  })

/** Between the writing of the one file and that of the other. */
const quietMillis = 100

/** For how long something may go on there before it is looked at all the same. */
const longestMillis = 1_000

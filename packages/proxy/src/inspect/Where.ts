/**
 * Which admin port is asked: `--admin`, else what `admin` in the config says, else 127.0.0.1:8081.
 *
 * Of the config nothing else is looked at, for whoever asks need not have its secrets in the environment.
 */
import { Result } from "effect"
import { parseDocument } from "yaml"
import type { Env } from "../ConfigFile.ts"
import * as ConfigValue from "../ConfigValue.ts"

export const usual = "http://127.0.0.1:8081"

/** Of `--admin`: a URL without a path, or an address; else what was expected. */
export const ofFlag = (text: string): Result.Result<string, string> => {
  const address = ConfigValue.address(text)
  if (address !== undefined) return Result.succeed(urlOf(address))
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) {
    const url = new URL(text)
    const isBare = url.pathname === "/" && url.search === "" && url.hash === "" && url.username + url.password === ""
    if (isBare) return Result.succeed(url.origin)
  }
  return Result.fail("the address of an admin port, such as http://127.0.0.1:8081 or 127.0.0.1:8081")
}

/** Of a config's text; `undefined` where it has no `admin`, or none that can be read. */
export const ofConfig = (text: string, env: Env): string | undefined => {
  const document = parseDocument(text, { stringKeys: true, merge: true, logLevel: "silent" })
  const admin: unknown = document.errors.length > 0 ? undefined : document.get("admin")
  if (typeof admin !== "string" && typeof admin !== "number") return undefined
  const filled = String(admin).replaceAll(/\$\{(\w+)\}/g, (_, name: string) => env[name] ?? "")
  const address = ConfigValue.address(filled)
  return address === undefined ? undefined : urlOf(address)
}

/** How this machine reaches it, whatever the interfaces it listens on. */
const urlOf = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  `http://${ConfigValue.formatAddress({ host: host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port })}`

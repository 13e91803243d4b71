/** A config without upstreams, on a free port, with nothing on that is off unless said. */
import type { Config } from "../src/Config.ts"

export const bare: Omit<Config, "upstreams"> = {
  listen: { host: "127.0.0.1", port: 0 },
  tls: undefined,
  admin: undefined,
  hosts: [],
  origins: [],
  loop: undefined,
  memory: undefined,
  profile: false
}

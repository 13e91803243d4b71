/** What has no fibers, each as its own documentation starts it, with connections that stay, and loaded by itself. */
import { atOnce, promises } from "./load.ts"
import type { Client } from "./load.ts"

export const undici = async (): Promise<Client> => {
  const { Agent, request } = await import("undici")
  const dispatcher = new Agent({ connections: atOnce })
  return promises(async (url) => {
    const { body } = await request(url, { dispatcher })
    return (await body.arrayBuffer()).byteLength
  })
}

export const fetching = (): Promise<Client> =>
  Promise.resolve(promises(async (url) => (await (await fetch(url)).arrayBuffer()).byteLength))

export const ky = async (): Promise<Client> => {
  const { default: ky } = await import("ky")
  return promises(async (url) => (await ky(url).arrayBuffer()).byteLength)
}

export const got = async (): Promise<Client> => {
  const { default: got } = await import("got")
  const { Agent } = await import("node:http")
  const client = got.extend({ agent: { http: new Agent({ keepAlive: true, maxSockets: atOnce }) } })
  return promises(async (url) => (await client(url).buffer()).byteLength)
}

export const axios = async (): Promise<Client> => {
  const { default: axios } = await import("axios")
  const { Agent } = await import("node:http")
  const client = axios.create({
    httpAgent: new Agent({ keepAlive: true, maxSockets: atOnce }),
    responseType: "arraybuffer",
    proxy: false
  })
  return promises(async (url) => (await client.get<Buffer>(url)).data.byteLength)
}

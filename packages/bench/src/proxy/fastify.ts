/** `@fastify/http-proxy` as its README starts it; the logger is off, as it is by default. */
import httpProxy from "@fastify/http-proxy"
import fastify from "fastify"

const [port, upstream] = [Number(process.argv[2]), process.argv[3] ?? ""]
const server = fastify()
await server.register(httpProxy, { upstream })
await server.listen({ port, host: "127.0.0.1" })

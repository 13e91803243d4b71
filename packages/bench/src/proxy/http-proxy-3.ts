/** `http-proxy-3` with an agent that keeps connections: without one it opens a new one for each call. */
import { Agent } from "node:http"
import { createProxyServer } from "http-proxy-3"

const [port, upstream] = [Number(process.argv[2]), process.argv[3] ?? ""]
createProxyServer({ target: upstream, agent: new Agent({ keepAlive: true, maxSockets: 64 }) }).listen(port, "127.0.0.1")

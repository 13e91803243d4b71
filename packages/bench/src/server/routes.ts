/** An `HttpRouter` with one route, and a small answer in memory. */
import { HttpRouter, HttpServerResponse } from "effect/http"

const routes = HttpRouter.add("GET", "/", HttpServerResponse.text("x".repeat(229)))

export const app = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true })

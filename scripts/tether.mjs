// Loaded into a program by launch.mjs: ends it, as SIGTERM does, when the pipe from its launcher closes.
import { Socket } from "node:net"
import { isMainThread } from "node:worker_threads"

if (isMainThread) {
  // Not for the processes that this one starts: they have no such pipe.
  process.execArgv.splice(process.execArgv.indexOf("--import"), 2)
  const tether = new Socket({ fd: 3, readable: true, writable: false })
  tether.on("error", () => {})
  tether.on("close", () => process.kill(process.pid, "SIGTERM"))
  tether.resume().unref()
}

/**
 * Runs a program and stays in front of it: ends with its exit code, and leaves nothing behind however it is ended.
 *
 * - Asked to end (Ctrl-C, or SIGTERM to npm, which passes it on), it asks the program, and waits.
 * - Its own starter gone without a word (npm killed), it asks the program to end, too.
 * - Gone itself (SIGKILL), the program notices by a pipe that closes: see tether.mjs.
 */
import { spawn } from "node:child_process"
import { constants } from "node:os"
import { environment, node, root } from "./ready.mjs"

const windows = process.platform === "win32"
const tether = new URL("./tether.mjs", import.meta.url).href
// Taken on loading: while a clone sets itself up, its starter may go.
const starter = process.ppid
const starterGone = () => process.ppid !== starter

// Into a file go no colours (vitest's would).
const plain = process.stdout.isTTY || process.env.FORCE_COLOR !== undefined ? {} : { NO_COLOR: "1" }

/** Runs `command` in the workspace's environment; gives its exit code (128 and the signal's number if one ended it). */
export const run = (command, args, { cwd = root, tethered = false, env = {} } = {}) =>
  new Promise((resolve) => {
    if (starterGone()) return resolve(143)
    const child = spawn(command, args, {
      cwd,
      env: { ...environment(), ...plain, ...env },
      // Out of the terminal's reach: a Ctrl-C comes from the terminal and again from npm, and a program that is told
      // twice may take the second for "at once".
      detached: !windows,
      stdio: tethered ? ["inherit", "inherit", "inherit", "pipe"] : "inherit"
    })
    const told = new Map()
    const tell = (signal) => {
      const now = performance.now()
      if (now - (told.get(signal) ?? -Infinity) < 300) return
      told.set(signal, now)
      child.kill(signal)
    }
    const handlers = { SIGINT: () => tell("SIGINT"), SIGTERM: () => tell("SIGTERM"), SIGHUP: () => tell("SIGTERM") }
    for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler)
    // No system tells a process that its parent went; to look now and then is all there is.
    const watch = setInterval(() => {
      if (starterGone()) tell("SIGTERM")
    }, 1000)
    const done = (code) => {
      clearInterval(watch)
      for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler)
      resolve(code)
    }
    child.on("error", (error) => {
      console.error(String(error))
      done(1)
    })
    child.on("exit", (code, signal) => done(code ?? 128 + constants.signals[signal]))
  })

/** Runs a program of this workspace on the workspace's Node. */
export const launch = (file, args, options) =>
  run(node, ["--import", tether, file, ...args], { ...options, tethered: true })

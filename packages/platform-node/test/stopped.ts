/** `programs/server.ts` as a process, and the clients of a server that is stopped. */
import { spawn } from "node:child_process"
import * as http from "node:http"
import { fileURLToPath } from "node:url"

export interface Running {
  readonly port: number
  readonly kill: (signal: NodeJS.Signals) => void
  /** Its exit code, and when. */
  readonly ended: Promise<{ readonly code: number | null; readonly at: number; readonly err: string }>
}

export const start = (...args: ReadonlyArray<string>) =>
  new Promise<Running>((resolve) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("programs/server.ts", import.meta.url)), ...args])
    let err = ""
    child.stderr.on("data", (chunk) => (err += chunk))
    const ended = new Promise<Awaited<Running["ended"]>>((end) =>
      child.on("close", (code) => end({ code, at: performance.now(), err }))
    )
    child.stdout.once("data", (chunk) => resolve({ port: Number(chunk), kill: (signal) => child.kill(signal), ended }))
  })

export interface Answer {
  readonly status: number | undefined
  readonly close: boolean
  readonly error: string | undefined
  readonly at: number
}

export const get = (agent: http.Agent, port: number, path = "/") =>
  new Promise<Answer>((resolve) => {
    const end = (status: number | undefined, close: boolean, error?: string) =>
      resolve({ status, close, error, at: performance.now() })
    http
      .get({ agent, host: "127.0.0.1", port, path }, (response) => {
        response.resume().on("end", () => end(response.statusCode, response.headers.connection === "close"))
        response.on("error", (error) => end(response.statusCode, false, String(error)))
      })
      .on("error", (error: NodeJS.ErrnoException) => end(undefined, false, error.code))
  })

/** Each connection sends its next call when it has its answer, until it is told to close. */
export const load = async (port: number, connections: number, answers: Array<Answer>) => {
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (;;) {
        const answer = await get(agent, port)
        // Who comes anew finds nobody who listens.
        if (answer.error === "ECONNREFUSED") break
        answers.push(answer)
        if (answer.close || answer.error !== undefined) break
      }
      agent.destroy()
    })
  )
}

/** Whether a call was not answered as it should be. */
export const wrong = ({ error, status }: Answer): boolean => status !== 200 || error !== undefined

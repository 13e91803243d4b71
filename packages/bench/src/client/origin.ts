/** The server of the client part, in a process of its own: nginx where it is installed, else one of ours. */
import { fork, spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { freePort, listening } from "../processes.ts"

/** The program that a shell would start, by its name. Where a service is installed is not on everybody's PATH. */
const installed = (name: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin"]
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })

const nginx = installed("nginx")

export const kind = nginx === undefined ? "a server of canned answers" : "nginx"

/** One process, as its clients are one: files from the page cache, no log, connections that stay. */
const config = (port: number, folder: string) => `
daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=10;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path ${folder}/client;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  default_type text/plain;
  server {
    listen 127.0.0.1:${port} backlog=1024;
    root ${folder};
  }
}
`

/** Runs `use` with the URL of an answer of so many bytes. */
export const serving = async <A>(size: number, use: (url: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"))
  const port = await freePort()
  let server: ChildProcess | undefined
  try {
    if (nginx === undefined) {
      server = fork(join(import.meta.dirname, "canned.ts"), [String(port), String(size)], { execArgv: [] })
    } else {
      writeFileSync(join(folder, "answer"), "x".repeat(size))
      writeFileSync(join(folder, "nginx.conf"), config(port, folder))
      server = spawn(nginx, ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", "stderr"], {
        stdio: ["ignore", "ignore", "inherit"]
      })
    }
    await listening(port)
    return await use(`http://127.0.0.1:${port}/answer`)
  } finally {
    server?.kill("SIGKILL")
    rmSync(folder, { recursive: true, force: true })
  }
}

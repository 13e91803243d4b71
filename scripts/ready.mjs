/**
 * Makes a clone ready: the packages at the locked versions, and among them the Node that runs everything here.
 *
 * Plain JavaScript for Node 20, since it runs before there is anything else. Nothing to do costs a few milliseconds: a
 * stamp in node_modules says what was installed, and is written last, so an install that was cut leaves none.
 * Commands started together take turns: the first installs, the others wait for it and find the stamp.
 */
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { homedir, tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = realpathSync(fileURLToPath(new URL("..", import.meta.url)))
const at = (...path) => join(root, ...path)
const windows = process.platform === "win32"

const manifest = JSON.parse(readFileSync(at("package.json"), "utf8"))
/** The pnpm of this workspace; package.json is the one place that names its version. */
export const packageManager = manifest.packageManager
const nodeVersion = `v${manifest.devDependencies.node}`
const stamp = at("node_modules", ".ready")

/** The Node of this workspace, once it is ready. */
export const node = at("node_modules", ".bin", windows ? "node.exe" : "node")

const bin = at("node_modules", ".bin")
const pathWithout = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== bin)

// What npm and pnpm tell a script about itself; what a person tells them (a registry, say) stays.
const fromStarter =
  /^(npm_(?!config_)|npm_config_(local_prefix|user_agent|npm_version|node_gyp)$|INIT_CWD$|PNPM_SCRIPT)/i

/** The environment of what runs in the workspace: its own tools first, and nothing of the npm or pnpm that started it. */
export const environment = () => {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !fromStarter.test(name)))
  return { ...env, PATH: [bin, ...pathWithout].join(delimiter) }
}

// What the packages follow from: the lockfile, the manifests, and the machine (some packages are binaries, some links absolute).
const workspaces = () => [
  root,
  at("examples"),
  ...readdirSync(at("packages"))
    .toSorted()
    .map((name) => at("packages", name))
]
const wanted = () => {
  const hash = createHash("sha256")
  const files = ["pnpm-lock.yaml", "pnpm-workspace.yaml"].map((name) => at(name))
  for (const file of [...files, ...workspaces().map((folder) => join(folder, "package.json"))]) {
    if (existsSync(file)) hash.update(file).update(readFileSync(file))
  }
  // pnpm's own record of what is installed, so that an install by hand (of another branch, say) makes the stamp void.
  const installed = at("node_modules", ".pnpm", "lock.yaml")
  if (existsSync(installed)) hash.update(readFileSync(installed))
  return hash.update([process.platform, process.arch, root].join()).digest("hex")
}

const isReady = () =>
  existsSync(stamp) &&
  existsSync(node) &&
  workspaces().every(
    (folder) => !existsSync(join(folder, "package.json")) || existsSync(join(folder, "node_modules"))
  ) &&
  readFileSync(stamp, "utf8") === wanted()

// The lock is a listening socket: the system takes it back however its holder ends, and to wait for it is to be
// connected until it goes. On Linux it is a name without a file.
const lockName = `fairlead-${createHash("sha256").update(`${root} ${homedir()}`).digest("hex").slice(0, 16)}`
const lockAddress =
  process.platform === "linux" ? `\0${lockName}` : windows ? `\\\\.\\pipe\\${lockName}` : join(tmpdir(), lockName)

const listen = (server) =>
  new Promise((resolve, reject) => {
    server.once("error", (error) => (error.code === "EADDRINUSE" ? resolve(false) : reject(error)))
    server.listen(lockAddress, () => resolve(true))
  })

const untilFree = () =>
  new Promise((resolve) => {
    connect(lockAddress)
      .on("error", (error) => {
        // A file whose listener was killed. (Not on Linux.)
        if (error.code === "ECONNREFUSED" && process.platform !== "linux") rmSync(lockAddress, { force: true })
      })
      .on("close", resolve)
      .resume()
  })

const locked = async (work) => {
  const waiters = new Set()
  const server = createServer((socket) => waiters.add(socket.on("error", () => {})))
  let said = false
  while (!(await listen(server))) {
    if (!said) console.log("Another command is setting this clone up; waiting for it.")
    said = true
    await untilFree()
  }
  try {
    return await work()
  } finally {
    server.close()
    for (const socket of waiters) socket.destroy()
  }
}

/** Runs pnpm quietly, without npm's notices; gives its exit code and all it wrote. */
const pnpm = (...args) =>
  new Promise((resolve) => {
    const child = spawn("npx", ["--yes", packageManager, ...args], {
      cwd: root,
      shell: windows,
      // A group of its own, so that ending it ends npx, pnpm and what they started.
      detached: !windows,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        // Without a network npm would try for over a minute before it says so.
        npm_config_fetch_retry_mintimeout: "1000",
        npm_config_fetch_retry_maxtimeout: "5000",
        ...environment(),
        PATH: pathWithout.join(delimiter),
        npm_config_loglevel: "warn"
      }
    })
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    const ends = ["SIGINT", "SIGTERM", "SIGHUP"].map((signal) => {
      const end = () => {
        if (windows) child.kill()
        else process.kill(-child.pid, "SIGTERM")
        process.exit(signal === "SIGINT" ? 130 : 143)
      }
      process.once(signal, end)
      return () => process.off(signal, end)
    })
    const done = (code, text) => {
      for (const off of ends) off()
      resolve({ code, output: text })
    }
    child.on("error", (error) => done(1, String(error)))
    child.on("close", (code) => done(code ?? 1, output))
  })

const offline =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|dns error|error sending request/i

const advice = (output) => {
  if (/ENOENT/.test(output) && /spawn npx/.test(output)) {
    return "`npx` was not found: it comes with npm, which comes with Node."
  }
  if (offline.test(output)) {
    return "The npm registry does not answer. The first start needs the network, later ones do not; behind an HTTP proxy, set HTTPS_PROXY."
  }
  if (/OUTDATED_LOCKFILE/.test(output)) {
    return `A package.json and pnpm-lock.yaml do not agree: run \`npx ${packageManager} install\`.`
  }
  if (/ENOSPC/.test(output)) return "The disk is full: the packages need about 1 GB with npm's and pnpm's caches."
  if (/EACCES|EPERM|EROFS/.test(output))
    return "A folder may not be written: this clone, or npm's or pnpm's cache in your home folder."
  return "Try again; if that does not help, delete the folder node_modules and try once more."
}

// Asks nothing: a node_modules that another tool made is replaced.
const installation = ["install", "--frozen-lockfile", "--config.confirmModulesPurge=false"]

const works = () => {
  const { status, stdout } = spawnSync(node, ["--version"], { encoding: "utf8", shell: windows })
  return status === 0 && stdout.trim() === nodeVersion
}

const install = async () => {
  console.log(`Installing the packages of this workspace with ${packageManager} (once; half a minute or so) …`)
  const began = Date.now()
  // No stamp beside packages: an install was cut, maybe while a package set itself up, and another on top may not mend that.
  const cut = existsSync(at("node_modules")) && !existsSync(stamp)
  rmSync(stamp, { force: true })
  let { code, output } = await pnpm(...installation)
  if (code === 0 ? !works() : cut && !offline.test(output)) {
    for (const folder of workspaces()) rmSync(join(folder, "node_modules"), { recursive: true, force: true })
    ;({ code, output } = await pnpm(...installation))
  }
  if (code === 0 && !works()) {
    code = 1
    output += `\n${node} does not run as Node ${nodeVersion}.`
  }
  if (code !== 0) {
    console.error(`${output.trimEnd()}\n\nThe packages could not be installed (exit code ${code}). ${advice(output)}`)
    return false
  }
  writeFileSync(stamp, wanted())
  console.log(`Installed in ${Math.round((Date.now() - began) / 1000)} s.`)
  return true
}

/** Sets the clone up if it is not; false, with the reason told, when that is not possible. */
export const ready = async () => {
  if (Number(process.versions.node.split(".")[0]) < 20) {
    console.error(`Fairlead needs Node 20 or later to set itself up; this is ${process.version}.`)
    return false
  }
  return isReady() || (await locked(async () => isReady() || (await install())))
}

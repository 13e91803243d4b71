/**
 * A folder that answers are kept in, each in a file of its own, and the record of what was fetched.
 *
 *     DIR/example.com/users_1-3f9a1c2b04d8e65a.json    an answer; its name follows from the item alone
 *     DIR/fetch.jsonl                            a line for each item that has ended
 *     DIR/.partial-4711/                         what is on its way, for as long as process 4711 runs
 *
 * A file is written under another name and then renamed, and only then its line: whoever looks sees all of an answer or nothing,
 * and what has a line has its file. Killing the process in between loses at most what was on its way. (Not so a power failure:
 * nothing is forced to the disk.) Names are made of letters, digits and `-_.`, and never lead out of the folder.
 */
import type { ParallelHttp } from "@fairlead/core"
import { Data, Effect, Stream } from "effect"
import type { Scope } from "effect"
import * as fs from "node:fs"
import { dirname, join } from "node:path"
import type * as Entry from "./Entry.ts"
import * as Input from "./Input.ts"
import type * as Item from "./Item.ts"

/** A result cannot be written. There is no going on without a place to put them. */
export class WriteFailed extends Data.TaggedError("WriteFailed")<{ readonly path: string; readonly code: string }> {
  override get message(): string {
    return `${this.path} cannot be written: ${reasons[this.code] ?? this.code}`
  }
}

const reasons: { readonly [code: string]: string } = {
  EACCES: "permission denied",
  EDQUOT: "the quota of the disk is used up",
  EEXIST: "there is a file of that name",
  EMFILE: "too many open files (see `ulimit -n`, or lower --concurrency)",
  ENAMETOOLONG: "the name is too long",
  ENOENT: "its folder is not there",
  ENOSPC: "no space left on the disk",
  ENOTDIR: "it is no folder",
  EROFS: "the disk is read only"
}

/** A folder cannot be used as it is; `message` says why, and what to do. */
export class FolderRefused extends Data.TaggedError("FolderRefused")<{ readonly message: string }> {}

export const manifest = "fetch.jsonl"

export interface Folder {
  /** What earlier runs have finished. */
  readonly finished: ReadonlySet<string>
  /** Keeps an answer's body; gives its file, from the folder on, and its length. Interrupting it leaves nothing. */
  readonly keep: (
    item: Item.Item,
    answer: ParallelHttp.Answer
  ) => Effect.Effect<{ readonly file: string; readonly bytes: number }, WriteFailed | ParallelHttp.BodyFailure>
  /** Adds lines to the record. */
  readonly record: (lines: string) => Effect.Effect<void, WriteFailed>
}

/** The folder, made if need be, for as long as the scope lives. One that has a record already is for `resume` alone. */
export const open = (
  dir: string,
  resume: boolean
): Effect.Effect<Folder, WriteFailed | FolderRefused | Input.ReadFailed, Scope.Scope> =>
  Effect.gen(function* () {
    const path = join(dir, manifest)
    yield* attempt(dir, () => fs.mkdirSync(dir, { recursive: true }))
    const partial = yield* claim(dir)
    if (!resume && fs.existsSync(path)) {
      return yield* new FolderRefused({
        message: `--out: ${path} is there from an earlier run. Go on with that by --resume, or name another folder.`
      })
    }
    const finished = resume ? yield* read(path) : new Set<string>()
    const record = yield* Effect.acquireRelease(
      attempt(path, () => fs.openSync(path, "a+")),
      (fd) => Effect.sync(() => fs.closeSync(fd))
    )
    yield* attempt(path, () => mend(record))
    let number = 0
    return {
      finished,
      // All of it: a disk that fills up takes a part, and says so only when it is asked again.
      record: (lines) => attempt(path, () => fs.appendFileSync(record, lines)),
      keep: (item, answer) =>
        Effect.suspend(() => {
          const file = nameOf(item)
          const temporary = join(partial, `${number++}`)
          return store(answer, temporary).pipe(
            Effect.tap(() => attempt(join(dir, file), () => move(temporary, join(dir, file)))),
            Effect.map((bytes) => ({ file, bytes })),
            Effect.onError(() => Effect.sync(() => fs.rmSync(temporary, { force: true })))
          )
        })
    }
  })

/** A last line that was cut in two when a process was killed is ended, so that the next one stands by itself. */
const mend = (fd: number): void => {
  const { size } = fs.fstatSync(fd)
  const last = Buffer.alloc(1)
  if (size > 0) fs.readSync(fd, last, 0, 1, size - 1)
  if (size > 0 && last.toString() !== "\n") fs.writeSync(fd, "\n")
}

/** The keys of what a record says was fetched. Lines that are none of ours, or were cut, are passed over. */
export const finishedOf = (lines: Iterable<string>): Set<string> => {
  const keys = new Set<string>()
  for (const line of lines) {
    try {
      const { key, ok } = JSON.parse(line) as Partial<Entry.Entry>
      if (ok === true && typeof key === "string") keys.add(key)
    } catch {
      // It was cut when it was written.
    }
  }
  return keys
}

const read = (path: string): Effect.Effect<Set<string>, Input.ReadFailed> =>
  Effect.try({
    try: () => {
      const keys = new Set<string>()
      if (!fs.existsSync(path)) return keys
      const fd = fs.openSync(path, "r")
      try {
        const lines = new Input.Lines()
        const chunk = Buffer.alloc(1 << 20)
        const add = (found: ReadonlyArray<Input.Line>) => {
          for (const key of finishedOf(found.map(({ text = "" }) => text))) keys.add(key)
        }
        for (let n = fs.readSync(fd, chunk); n > 0; n = fs.readSync(fd, chunk)) add(lines.push(chunk.subarray(0, n)))
        add(lines.end())
        return keys
      } finally {
        fs.closeSync(fd)
      }
    },
    catch: (error) => Input.ReadFailed.of(path, error)
  })

const prefix = ".partial-"

/**
 * A folder for what is on its way, which says that this process writes here. What a process has left that was killed is removed; where
 * it still runs, two would write to one record.
 */
const claim = (dir: string): Effect.Effect<string, WriteFailed | FolderRefused, Scope.Scope> =>
  Effect.gen(function* () {
    const partial = join(dir, `${prefix}${process.pid}`)
    const remove = () => fs.rmSync(partial, { recursive: true, force: true })
    // It stands before anybody looks for others: of two that begin at once, one at least sees the other.
    yield* Effect.acquireRelease(
      attempt(partial, () => {
        remove()
        fs.mkdirSync(partial)
        // A second signal ends the process with no word to anybody's scope.
        process.once("exit", remove)
      }),
      () =>
        Effect.sync(() => {
          process.off("exit", remove)
          remove()
        })
    )
    const others = yield* attempt(dir, () => fs.readdirSync(dir).filter((name) => name.startsWith(prefix)))
    for (const name of others) {
      const pid = Number(name.slice(prefix.length))
      if (pid === process.pid) continue
      if (isRunning(pid)) {
        return yield* new FolderRefused({
          message: `--out: process ${pid} writes to ${dir}. Wait for it, or name another folder. (If it is no fetch, remove ${join(dir, name)}.)`
        })
      }
      yield* attempt(join(dir, name), () => fs.rmSync(join(dir, name), { recursive: true, force: true }))
    }
    return partial
  })

const isRunning = (pid: number): boolean => {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return codeOf(error) === "EPERM"
  }
}

/** Where an item's answer is kept: by its host, path and key, or by its id and key. Always the same, whatever else is fetched. */
export const nameOf = ({ id, key, request }: Item.Item): string => {
  const { host, pathname, search } = new URL(request.url)
  const [, path = "", suffix = ""] = /^(.*?)(\.[a-z\d]{1,8})?$/is.exec(pathname) ?? []
  const stem = plain(id ?? path + search) || "index"
  return `${plain(host) || "_"}/${stem}-${key.slice(0, 16)}${suffix}`
}

/** Of letters, digits and `-_.`, and none of them first that would make it hidden, an option or a way up. */
const plain = (text: string) =>
  text
    .replace(/[^a-z\d._-]+/gi, "_")
    .replace(/^[._-]+/, "")
    .slice(0, 80)

const move = (from: string, to: string): void => {
  try {
    fs.renameSync(from, to)
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error
    fs.mkdirSync(dirname(to), { recursive: true })
    fs.renameSync(from, to)
  }
}

/** Writes a body as it comes; a slow disk stops its sender. */
const store = (
  answer: ParallelHttp.Answer,
  path: string
): Effect.Effect<number, WriteFailed | ParallelHttp.BodyFailure> =>
  Effect.suspend(() => {
    let bytes = 0
    const file = fs.createWriteStream(path, { flags: "wx" })
    const failed = Effect.callback<never, WriteFailed>((resume) => {
      file.once("error", (error) => resume(Effect.fail(new WriteFailed({ path: dirname(path), code: codeOf(error) }))))
    })
    const drained = Effect.callback<void>((resume) => void file.once("drain", () => resume(Effect.void)))
    const ended = Effect.callback<void>((resume) => void file.end(() => resume(Effect.void)))
    const flow = Stream.runForEach(answer.stream, (chunk) => {
      bytes += chunk.length
      return file.write(chunk) ? Effect.void : drained
    })
    return Effect.raceFirst(Effect.andThen(flow, ended), failed).pipe(
      Effect.map(() => bytes),
      Effect.onError(() => closed(file))
    )
  })

/** Before it is closed, its name could still come into being. */
const closed = (file: fs.WriteStream): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (file.closed) return resume(Effect.void)
    file.on("error", () => {}).once("close", () => resume(Effect.void))
    file.destroy()
  })

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "unknown"

const attempt = <A>(path: string, f: () => A): Effect.Effect<A, WriteFailed> =>
  Effect.try({ try: f, catch: (error) => new WriteFailed({ path, code: codeOf(error) }) })

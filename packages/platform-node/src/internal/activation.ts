/**
 * The sockets that a service manager has opened for this process: sd_listen_fds(3).
 *
 * They are meant for the process that `LISTEN_PID` names. Its children inherit the words, and not what they are about.
 */

/** A socket that listens already. */
export interface Inherited {
  readonly fd: number
  /** As the service manager calls it (`FileDescriptorName=`); `unknown` where it does not say. */
  readonly name: string
}

const first = 3

/** What was passed to process `pid`, in order. */
export const read = (env: Readonly<Record<string, string | undefined>>, pid: number): ReadonlyArray<Inherited> => {
  const { LISTEN_FDNAMES: names = "", LISTEN_FDS: count = "", LISTEN_PID: meant = "" } = env
  if (meant !== `${pid}` || !/^\d{1,4}$/.test(count)) return []
  const called = names.split(":")
  return Array.from({ length: Number(count) }, (_, i) => ({ fd: first + i, name: called[i] || "unknown" }))
}

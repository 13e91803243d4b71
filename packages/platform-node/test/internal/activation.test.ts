import { describe, expect, it } from "vitest"
import { read } from "../../src/internal/activation.ts"

describe("sockets of a service manager", () => {
  it("are those from 3 on, by their names", () => {
    expect(read({ LISTEN_PID: "42", LISTEN_FDS: "2", LISTEN_FDNAMES: "web:admin" }, 42)).toEqual([
      { fd: 3, name: "web" },
      { fd: 4, name: "admin" }
    ])
  })

  it("are unknown by name where it does not say", () => {
    expect(read({ LISTEN_PID: "42", LISTEN_FDS: "2", LISTEN_FDNAMES: ":admin" }, 42)).toEqual([
      { fd: 3, name: "unknown" },
      { fd: 4, name: "admin" }
    ])
    expect(read({ LISTEN_PID: "42", LISTEN_FDS: "1" }, 42)).toEqual([{ fd: 3, name: "unknown" }])
  })

  it("are none where they are meant for another process, or nothing is passed", () => {
    expect(read({ LISTEN_PID: "41", LISTEN_FDS: "1" }, 42)).toEqual([])
    expect(read({ LISTEN_FDS: "1" }, 42)).toEqual([])
    expect(read({}, 42)).toEqual([])
    for (const count of ["", "-1", "1.5", "x", "1e9", "99999"]) {
      expect(read({ LISTEN_PID: "42", LISTEN_FDS: count }, 42)).toEqual([])
    }
  })
})

import { Inspect } from "@fairlead/platform-node"
import { expect, it } from "vitest"

const { printable } = Inspect

it("leaves what people read as it is", () => {
  for (const text of ["", "gate github", "GET /ärger?q=€", "🎣 鱼"]) expect(printable(text)).toBe(text)
})

it("takes out what steers a terminal, turns the writing or breaks the line", () => {
  expect(printable("a\u001b[2Jb\r\n\tc\u0007")).toBe("a�[2Jb���c�")
  expect(printable("\u009b31m\u202egnp.exe\u2028\u200b\ufeff")).toBe("�31m�gnp.exe���")
  expect(printable("half \ud83c of it")).toBe("half � of it")
})

it("cuts what is long, before it looks at it", () => {
  expect(printable("x".repeat(200))).toBe("x".repeat(200))
  expect(printable("x".repeat(201))).toBe(`${"x".repeat(199)}…`)
  expect(printable("🎣🎣🎣", 4)).toBe("🎣�…")
})

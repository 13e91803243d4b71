/** The tree as text, a line a node. Pure. */
import type { Registry } from "@fairlead/core"
import { printable } from "./printable.ts"
import { took } from "./times.ts"

/** What a line stands behind: box characters, or plain indentation. */
interface Strokes {
  readonly branch: string
  readonly last: string
  readonly through: string
  readonly under: string
}

const box: Strokes = { branch: "├─ ", last: "└─ ", through: "│  ", under: "   " }
const plain: Strokes = { branch: "  ", last: "  ", through: "  ", under: "  " }

export const format = (nodes: ReadonlyArray<Registry.Node>, style: "box" | "plain" = "plain"): string => {
  const strokes = style === "box" ? box : plain
  const lines: Array<string> = []
  const draw = (node: Registry.Node, first: string, rest: string) => {
    lines.push(first + line(node))
    const { children, left = 0 } = node
    children.forEach((child, i) => {
      const isLast = i === children.length - 1 && left === 0
      draw(child, rest + (isLast ? strokes.last : strokes.branch), rest + (isLast ? strokes.under : strokes.through))
    })
    if (left > 0) lines.push(`${rest}${strokes.last}… and ${left} more`)
  }
  for (const node of nodes) draw(node, "", "")
  return lines.map((line) => `${line}\n`).join("")
}

const line = (node: Registry.Node) => {
  const { ageMillis, children, deadlineMillis, id, kind, left = 0, name, reason, restarts, state, waitingFor } = node
  return [
    `${kind} ${printable(id === undefined ? name : `${id} ${name}`)}`,
    ...(kind === "calls" ? [`${children.length + left} under way`] : []),
    // What is waited for says more than that it waits.
    waitingFor === null || state === "ending"
      ? state
      : `${state === "waiting" ? "" : `${state}, `}waits for ${printable(waitingFor)}`,
    took(ageMillis),
    ...(deadlineMillis === null ? [] : [`${took(deadlineMillis)} left`]),
    ...(reason === null ? [] : [`cut: ${printable(reason)}`]),
    ...(restarts === undefined || restarts === 0 ? [] : [`${restarts} restarts`])
  ].join(" · ")
}

/** The first `most` nodes, parents before children; how many are left out below a node is counted there. */
export const prune = (nodes: ReadonlyArray<Registry.Node>, most: number): ReadonlyArray<Registry.Node> => {
  let room = most
  // Level by level: all that stands on top is worth more than what is deep in the first of it.
  const kept = new Set<Registry.Node>()
  let level = [nodes]
  while (level.length > 0) {
    const next: Array<ReadonlyArray<Registry.Node>> = []
    for (const siblings of level) {
      for (const node of siblings.slice(0, room)) {
        kept.add(node)
        if (node.children.length > 0) next.push(node.children)
      }
      room -= Math.min(room, siblings.length)
    }
    level = next
  }
  const rebuild = (siblings: ReadonlyArray<Registry.Node>): ReadonlyArray<Registry.Node> =>
    siblings
      .filter((node) => kept.has(node))
      .map((node) => {
        const children = rebuild(node.children)
        const left = (node.left ?? 0) + node.children.length - children.length
        return left === 0 ? { ...node, children } : { ...node, children, left }
      })
  return rebuild(nodes)
}

/** What pictures of measurements are drawn with: panels with axes, and lines in them. */

export type Point = readonly [x: number, y: number]

/** A panel: where it stands, and what its axes mean. */
export interface Axes {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
  readonly title: string
  readonly x: (value: number) => number
  readonly y: (value: number) => number
  readonly xTicks: ReadonlyArray<readonly [at: number, label: string]>
  readonly yTicks: ReadonlyArray<readonly [at: number, label: string]>
  readonly below: string
}

export const fixed = (value: number) => value.toFixed(1)
export const text = (x: number, y: number, words: string, more = "") =>
  `<text x="${fixed(x)}" y="${fixed(y)}"${more}>${words}</text>`
export const line = (x1: number, y1: number, x2: number, y2: number, css: string) =>
  `<line x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}" class="${css}"/>`

export const linear = (from: number, to: number, start: number, end: number) => (value: number) =>
  start + ((value - from) / (to - from)) * (end - start)
export const logarithmic = (from: number, to: number, start: number, end: number) => {
  const scale = linear(Math.log(from), Math.log(to), start, end)
  return (value: number) => scale(Math.log(value))
}

export const panel = ({ below, height, left, title, top, width, x, xTicks, y, yTicks }: Axes) => [
  text(left, top - 14, title, ` class="title"`),
  ...yTicks.flatMap(([at, label]) => [
    line(left, y(at), left + width, y(at), "grid"),
    text(left - 6, y(at) + 4, label, ` text-anchor="end"`)
  ]),
  ...xTicks.map(([at, label]) => text(x(at), top + height + 16, label, ` text-anchor="middle"`)),
  text(left + width / 2, top + height + 34, below, ` text-anchor="middle"`),
  line(left, top + height, left + width, top + height, "axis")
]

export const path = ({ x, y }: Axes, points: ReadonlyArray<Point>, css: string) =>
  `<polyline points="${points.map(([a, b]) => `${fixed(x(a))},${fixed(y(b))}`).join(" ")}" class="${css}"/>`

/** What all pictures have in common; colours are those of what is drawn. */
export const style = `
  text { fill: #57606a } .title { font-size: 14px; font-weight: 600; fill: #24292f }
  .grid { stroke: #8c959f; stroke-opacity: .3 } .axis { stroke: #8c959f } .loud { fill: #8c959f; fill-opacity: .14 }
  polyline { fill: none; stroke-width: 2 } .gate { stroke: #0969da } .bare { stroke: #bc4c00; stroke-dasharray: 6 3 }
  .dot { stroke: none } .dot.gate { fill: #0969da } .dot.bare { fill: #bc4c00 }
  .name { stroke: none; font-weight: 600 } .name.gate { fill: #0969da } .name.bare { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title { fill: #e6edf3 }
    .gate { stroke: #4493f8 } .bare { stroke: #f0883e }
    .dot.gate, .name.gate { fill: #4493f8 } .dot.bare, .name.bare { fill: #f0883e } .name, .dot { stroke: none }
  }
`

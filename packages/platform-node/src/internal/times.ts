/** Times as people read them. */

/** Of how long something took: `0.4 ms`, `12 ms`, `1.2 s`, `75 s`, `3:05 min`. */
export const took = (millis: number): string => {
  if (millis < 1) return `${millis.toFixed(1)} ms`
  if (millis < 999.5) return `${Math.round(millis)} ms`
  if (millis < 9_950) return `${(millis / 1_000).toFixed(1)} s`
  return millis < 99_500 ? `${Math.round(millis / 1_000)} s` : `${clock(millis)} ${millis < 3_600_000 ? "min" : "h"}`
}

/** As a clock shows it: `0:07`, `12:34`, `1:02:03`. */
export const clock = (millis: number): string => {
  const seconds = Math.round(millis / 1_000)
  const two = (n: number) => String(n).padStart(2, "0")
  const minutes = Math.floor(seconds / 60)
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`
}

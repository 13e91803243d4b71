/** Dates as headers write them, in milliseconds of Unix time; `undefined` where a text is none. */

/** The three forms of RFC 9110, 5.6.7: all are in GMT, though the last does not say so. */
export const http = (text: string): number | undefined => {
  const gmt = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)
  const rfc850 = /^[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/.test(text)
  const asctime = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(text)
  return gmt || rfc850 ? parsed(text) : asctime ? parsed(`${text} GMT`) : undefined
}

/** RFC 3339, and what is sent for it: without seconds, with a space for the `T`, without a zone, which is UTC then. */
export const rfc3339 = (text: string): number | undefined => {
  const parts = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?(Z|z|[+-]\d\d:?\d\d)?$/.exec(text)
  return parts === null ? undefined : parsed(`${parts[1]}T${parts[2]}${parts[3]?.toUpperCase() ?? "Z"}`)
}

/** What JavaScript makes of a date when nobody says how: `Tue Feb 16 2021 09:02:42 GMT+0100 (CET)`. */
export const javascript = (text: string): number | undefined =>
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d GMT[+-]\d{4}( \([\w ]+\))?$/.test(text)
    ? parsed(text)
    : undefined

const parsed = (text: string): number | undefined => {
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}

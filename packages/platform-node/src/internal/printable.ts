/** Text of others on one line of a terminal. */

/** What a terminal may take for an order, what turns the direction of writing or breaks the line, and half a character. */
// oxlint-disable-next-line no-control-regex
const orders = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\p{Cs}]/gu

/** With `�` in place of each; at most so long, the rest is `…`. */
export const printable = (text: string, most = 200): string => {
  // The cut first: what comes from outside may be of any length.
  const short = text.length > most ? `${text.slice(0, most - 1)}…` : text
  return short.replaceAll(orders, "�")
}

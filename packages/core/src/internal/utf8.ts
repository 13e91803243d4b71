/** Text as bytes, in UTF-8, and back: what is no UTF-8 becomes U+FFFD, a byte order mark in front is dropped. */

// Every runtime has them; ECMAScript's own library, which is all that `core` compiles against, does not name them.
declare const TextEncoder: new () => { readonly encode: (text: string) => Uint8Array }
declare const TextDecoder: new () => { readonly decode: (bytes: Uint8Array) => string }

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const encode = (text: string): Uint8Array => encoder.encode(text)

export const decode = (bytes: Uint8Array): string => decoder.decode(bytes)

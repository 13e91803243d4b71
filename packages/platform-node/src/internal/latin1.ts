/** Bytes as text, one character for each byte: what heads are made of on the wire. */

// What `toString("latin1")` calls in the end. It takes any view of bytes, with no `Buffer` to be made around it first.
const { latin1Slice } = Buffer.prototype as unknown as { readonly latin1Slice: (this: Uint8Array) => string }

export const decode = (bytes: Uint8Array): string => latin1Slice.call(bytes)

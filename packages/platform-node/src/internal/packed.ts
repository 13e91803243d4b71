/** Values as bytes, with large arrays of bytes apart, so that those are written and read as they stand. */
import { Buffer } from "node:buffer"
import * as v8 from "node:v8"

export interface Packed {
  /** All but the parts. */
  readonly rest: Uint8Array
  /** In the order in which they stand in it. */
  readonly parts: ReadonlyArray<Uint8Array>
}

/** From so many bytes on an array is a part of its own: below, it costs less to copy them than to write twice. */
export const partBytes = 65_536

/** What can be apart, by number; not the same in two versions of this, which never meet. */
const kinds = [
  Uint8Array,
  Buffer,
  Int8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView
] as const

interface HostWriter {
  _writeHostObject(view: ArrayBufferView): void
}

interface HostReader {
  _readHostObject(): unknown
}

const plain = v8.DefaultSerializer.prototype as unknown as HostWriter
const plainReader = v8.DefaultDeserializer.prototype as unknown as HostReader

class Writer extends v8.DefaultSerializer implements HostWriter {
  readonly parts: Array<Uint8Array> = []

  _writeHostObject(view: ArrayBufferView): void {
    const kind = kinds.findIndex((each) => view.constructor === each)
    const apart = kind >= 0 && view.byteLength >= partBytes
    this.writeUint32(apart ? kind + 1 : 0)
    if (!apart) return plain._writeHostObject.call(this, view)
    this.parts.push(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
  }
}

class Reader extends v8.DefaultDeserializer implements HostReader {
  private readonly parts: Iterator<Uint8Array>

  constructor({ parts, rest }: Packed) {
    super(rest)
    this.parts = parts[Symbol.iterator]()
  }

  _readHostObject(): unknown {
    const kind = this.readUint32()
    if (kind === 0) return plainReader._readHostObject.call(this)
    const { buffer, byteLength, byteOffset } = this.parts.next().value as Uint8Array<ArrayBuffer>
    const make = kinds[kind - 1]!
    if (make === Buffer) return Buffer.from(buffer, byteOffset, byteLength)
    const width = "BYTES_PER_ELEMENT" in make ? make.BYTES_PER_ELEMENT : 1
    return new (make as typeof Uint8Array)(buffer, byteOffset, byteLength / width)
  }
}

/** Throws what `structuredClone` would, of what cannot be sent. */
export const pack = (value: unknown): Packed => {
  const writer = new Writer()
  writer.writeHeader()
  writer.writeValue(value)
  return { rest: writer.releaseBuffer(), parts: writer.parts }
}

/** The parts are not copied: each must be the first in a buffer of its own, as `Parts` makes them. */
export const unpack = (packed: Packed): unknown => {
  const reader = new Reader(packed)
  reader.readHeader()
  return reader.readValue()
}

/** Sizes as people write them. */
import { ByteSize } from "effect"

export const from = (input: ByteSize.Input): number => ByteSize.toNumberUnsafe(ByteSize.fromInputUnsafe(input))

export const of = ByteSize.bytes

export const format = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

/** Effect's sizes in bytes, which are unstable: imported here alone. */
export { ByteSize } from "effect"

/** Milliseconds with two decimals, put together from whole numbers: with fractions V8 takes five times as long. */
export const ofMillis = (millis: number): string => {
  const hundredths = Math.round(millis * 100)
  return hundredths >= 0 && hundredths < most ? (known[hundredths] ??= text(hundredths)) : text(hundredths)
}

/** Nearly all times of a call are among these, and each call has ten of them: so a text is made once. */
const most = 5_000
const known: Array<string | undefined> = Array.from({ length: most })

const text = (hundredths: number): string => {
  const whole = Math.floor(hundredths / 100)
  const rest = hundredths - whole * 100
  return rest === 0 ? `${whole}` : rest < 10 ? `${whole}.0${rest}` : `${whole}.${rest}`
}

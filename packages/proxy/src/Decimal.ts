/** Milliseconds with two decimals, put together from whole numbers: with fractions V8 takes five times as long. */
export const ofMillis = (millis: number): string => {
  const hundredths = Math.round(millis * 100)
  const whole = Math.floor(hundredths / 100)
  const rest = hundredths - whole * 100
  return rest === 0 ? `${whole}` : rest < 10 ? `${whole}.0${rest}` : `${whole}.${rest}`
}

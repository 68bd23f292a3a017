/** `+2`, `0`, `−2`. */
export function signed(value: number): string {
  return value > 0 ? `+${value}` : String(value).replace('-', '−');
}

/** `70 %`, of 70. */
export function percentage(value: number): string {
  return `${value} %`;
}

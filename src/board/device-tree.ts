/** A string of the device tree: text that a NUL ends. `/proc/device-tree/model`. */
export function parseTreeString(text: string): string | undefined {
  const value = text.split('\0', 1)[0]!.trim();
  return value === '' ? undefined : value;
}

/** A list of strings of the device tree, each ended by a NUL: `/proc/device-tree/compatible`, the most specific first. */
export function parseTreeList(text: string): string[] {
  return text
    .split('\0')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

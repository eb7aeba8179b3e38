/** Largest picture or frame that is read, pixels: the largest frame of a model. What names a size may be hostile, and memory is made by it. */
export const MOST_PIXELS = 8192 * 8192;

/** Names the library of ONNX Runtime, as its own tools do. */
export const LIBRARY_VARIABLE = 'ORT_LIB';

/** The library, or its folder, that the configuration names, else the environment, and which of the two; undefined: neither. */
export function namedLibrary(
  configured: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): { library: string; by: string } | undefined {
  if (configured !== undefined) return { library: configured, by: 'runtime.libonnxruntime' };
  const library = environment[LIBRARY_VARIABLE];
  return library ? { library, by: LIBRARY_VARIABLE } : undefined;
}

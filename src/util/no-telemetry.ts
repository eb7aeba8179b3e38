/**
 * ONNX Runtime from 1.29 on, as its makers build it for Linux, reports to them over HTTPS what runs where, and keeps in the user's cache what
 * it could not send, unless this variable is set when its library is loaded (https://github.com/microsoft/onnxruntime, docs/Privacy.md). A box in
 * the field reports to nobody but its broker. Only the main thread's environment is the process's own: call it there, before workers.
 */
export function forbidTelemetry(): void {
  process.env.ORT_DISABLE_TELEMETRY = '1';
}

/** What a running detector says of itself; travels with every alert. */
export interface ModelIdentity {
  name: string;
  /** sha256 of the .onnx file that runs, hex. */
  sha256: string;
  precision: 'fp32' | 'fp16';
}

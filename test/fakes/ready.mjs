/** What a fake worker says that has a network of no name and a camera of 8x8 px. */
export const READY = {
  type: 'ready',
  model: { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' },
  provider: 'cpu',
  library: 'none',
  threshold: 0.5,
  source: { description: 'nothing', width: 8, height: 8, bits: 8 },
};

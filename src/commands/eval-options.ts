/** Ways to use `irst-edge eval`. */
export type EvalMode = 'images' | 'sequence' | 'still' | 'synthetic' | 'subpixel' | 'compare' | 'activations';

/** The flag that chooses it; none chooses `images`. */
const FLAGS: Record<EvalMode, string | undefined> = {
  images: undefined,
  sequence: '--sequence',
  still: '--sequence --still',
  synthetic: '--sequence --synthetic',
  subpixel: '--subpixel',
  compare: '--compare',
  activations: '--activations',
};

const ALL = Object.keys(FLAGS) as EvalMode[];
const SEQUENCES: EvalMode[] = ['sequence', 'still', 'synthetic'];
const DETECTING = ALL.filter((mode) => mode !== 'activations');

/** The modes in which an option means something; those not named here, in all. Keys as commander has them. */
const MEANT: Record<string, readonly EvalMode[]> = {
  synthetic: ['synthetic'],
  snr: ['synthetic'],
  empty: ['synthetic'],
  still: ['still'],
  noise: ['still'],
  gaps: ['sequence'],
  seed: ['synthetic', 'still', 'subpixel'],
  faintSearch: SEQUENCES,
  egoMotion: SEQUENCES,
  frames: ['activations'],
  list: ALL.filter((mode) => mode !== 'synthetic' && mode !== 'activations'),
  precision: ['images', ...SEQUENCES, 'subpixel'],
  provider: DETECTING,
  threads: DETECTING,
  threshold: DETECTING,
  relativeThreshold: DETECTING,
  radius: ['images', ...SEQUENCES, 'compare'],
  perImage: ['images', ...SEQUENCES],
};

/**
 * Why an option that was given would have no effect; undefined where each has one.
 * @param given keys of the options that stand in the command line
 */
export function idleOption(mode: EvalMode, given: readonly string[]): string | undefined {
  const idle = given.find((key) => MEANT[key]?.includes(mode) === false);
  if (idle === undefined) return undefined;
  const modes = MEANT[idle]!;
  const flags = modes.flatMap((m) => FLAGS[m] ?? []);
  const has = FLAGS[mode] === undefined ? 'without another mode' : `with ${FLAGS[mode]}`;
  return `${flag(idle)} means nothing ${has}${flags.length === 0 ? '' : `, only with ${flags.join(' or ')}`}`;
}

/** As it is written: `faintSearch` is `--no-faint-search`, the one that is there. */
function flag(key: string): string {
  const name = key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
  return key === 'faintSearch' ? `--no-${name}` : `--${name}`;
}

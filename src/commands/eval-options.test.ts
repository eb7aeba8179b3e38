import { describe, expect, test } from 'vitest';
import { idleOption } from './eval-options.js';

describe('options that would have no effect', () => {
  test.each([
    ['images', ['data', 'list', 'radius', 'threshold', 'perImage', 'precision']],
    ['sequence', ['data', 'list', 'radius', 'gaps', 'faintSearch', 'egoMotion', 'perImage']],
    ['still', ['data', 'list', 'still', 'noise', 'seed', 'faintSearch']],
    ['synthetic', ['synthetic', 'snr', 'seed', 'empty']],
    ['subpixel', ['data', 'list', 'seed', 'relativeThreshold', 'threads']],
    ['compare', ['data', 'list', 'radius', 'provider']],
    ['activations', ['data', 'frames', 'model']],
  ] as const)('%s takes its own', (mode, given) => {
    expect(idleOption(mode, given)).toBeUndefined();
  });

  test.each([
    ['images', 'still', '--still means nothing without another mode, only with --sequence --still'],
    ['images', 'gaps', '--gaps means nothing without another mode, only with --sequence'],
    ['still', 'snr', '--snr means nothing with --sequence --still, only with --sequence --synthetic'],
    ['synthetic', 'noise', '--noise means nothing with --sequence --synthetic, only with --sequence --still'],
    ['subpixel', 'radius', /^--radius means nothing with --subpixel, only with --sequence or /],
    ['compare', 'precision', /^--precision means nothing with --compare/],
    ['activations', 'threads', /^--threads means nothing with --activations/],
    ['compare', 'faintSearch', /^--no-faint-search means nothing with --compare/],
    ['subpixel', 'perImage', /^--per-image means nothing/],
  ] as const)('%s: %s', (mode, key, message) => {
    expect(idleOption(mode, ['data', key])).toMatch(message);
  });
});

import type { Board } from '../../board/board.js';
import { type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'memory';
/** The daemon takes 150 to 300 MiB; building an engine several times that. */
const LITTLE_MIB = 512;

export function checkMemory({ memory }: Pick<Board, 'memory'>): Finding[] {
  if (memory === undefined) return [info(CHECK, 'MEMORY_UNKNOWN', 'the free memory is not known')];
  const line = `${Math.round(memory.availableMiB)} of ${Math.round(memory.totalMiB)} MiB are free`;
  if (memory.availableMiB >= LITTLE_MIB) return [ok(CHECK, 'MEMORY', line, { ...memory })];
  return [
    warning(
      CHECK,
      'MEMORY_LOW',
      line,
      'end what is not needed (a desktop takes 1 GB: sudo systemctl set-default multi-user.target), or add swap for the first start',
      { ...memory },
    ),
  ];
}

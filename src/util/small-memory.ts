import { setFlagsFromString } from 'node:v8';
import { loadNative } from '../native.js';

/**
 * For a program that runs for months beside others, before it loads what it runs: memory over speed in JavaScript, which is not where the
 * time goes. New objects of a frame fit in a megabyte; V8 would let their space grow to 16 MB a thread. See `docs/runtime.md` for what
 * it saves.
 */
const FLAGS = ['--optimize-for-size', '--max-semi-space-size=1', '--semi-space-growth-factor=1'];

export function keepMemorySmall(): void {
  for (const flag of FLAGS) setFlagsFromString(flag);
  try {
    loadNative().shareMallocArena();
  } catch {
    // Without the addon there is more memory in use, and whoever needs it says so.
  }
}

/** After something large has ended (a camera's thread): malloc keeps what it freed, and the next one may not fit in there. */
export function giveMemoryBack(): void {
  try {
    loadNative().releaseFreeMemory();
  } catch {
    // Without the addon there is more memory in use, as above.
  }
}

/**
 * After the start: what was needed for it alone goes, free memory of malloc and pages of program files. Of the latter the program uses a third
 * from then on, and takes that back from the page cache as it comes to it. Takes some 20 ms; `docs/runtime.md` for what it saves.
 */
export function endStart(): void {
  giveMemoryBack();
  try {
    loadNative().releaseFilePages();
  } catch {
    // As above.
  }
}

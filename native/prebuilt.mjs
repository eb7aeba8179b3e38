// Whether an addon that is there already serves: exit code 0, else 1. The install script asks it, and compiles where none does. As a
// package that is the prebuilt one that came along, if it loads. In a checkout it is the one that was compiled there, while it is newer
// than its sources: the first `npx irst-edge` in a checkout runs the install script, and must not take the addon from a daemon that runs.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { version } = require('../package.json');
const at = (path) => new URL(`../${path}`, import.meta.url);

function loads(path) {
  try {
    return require(`../${path}`).version === version;
  } catch (error) {
    // A machine without the addon is nothing to tell of; one that does not load is, before the compiler speaks.
    if (error.code !== 'MODULE_NOT_FOUND')
      console.error(`irst-edge: the prebuilt addon does not load: ${error.message}`);
    return false;
  }
}

const changed = ({ mtimeMs, ctimeMs }) => Math.max(mtimeMs, ctimeMs);

function isNewerThanSources(path) {
  if (!existsSync(at(path))) return false;
  const sources = [
    'native/binding.gyp',
    'native/src',
    ...readdirSync(at('native/src')).map((name) => `native/src/${name}`),
  ];
  const built = statSync(at(path)).mtimeMs;
  // Copied with their times (rsync -a), sources are as old as they were elsewhere: when they came here tells.
  return sources.every((source) => changed(statSync(at(source))) < built);
}

const BUILT = 'native/build/Release/irst_edge.node';
const serves = existsSync(at('.git'))
  ? isNewerThanSources(BUILT) && loads(BUILT)
  : loads(`prebuilds/${process.platform}-${process.arch}/irst_edge.node`);
process.exit(serves ? 0 : 1);

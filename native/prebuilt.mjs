// Whether the prebuilt addon that came with the package loads on this machine: exit code 0, else 1. The install script asks it, and
// compiles where it does not. In a checkout the sources rule: what is compiled from them is not what came with some package.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { version } = require('../package.json');

function loads() {
  if (existsSync(new URL('../.git', import.meta.url))) return false;
  try {
    return require(`../prebuilds/${process.platform}-${process.arch}/irst_edge.node`).version === version;
  } catch (error) {
    // A machine without a prebuilt addon is nothing to tell of; one that does not load is, before the compiler speaks.
    if (error.code !== 'MODULE_NOT_FOUND')
      console.error(`irst-edge: the prebuilt addon does not load: ${error.message}`);
    return false;
  }
}

process.exit(loads() ? 0 : 1);

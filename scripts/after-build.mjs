// tsc writes plain files; the command line must be executable, for `npx irst-edge` and for systemd.
import { chmodSync } from 'node:fs';

chmodSync(new URL('../dist/cli.js', import.meta.url), 0o755);

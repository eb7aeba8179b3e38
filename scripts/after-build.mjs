// tsc writes plain files; the command line must be executable, for `npx irst-edge` and for systemd. Data beside the code comes along.
import { chmodSync, cpSync, rmSync } from 'node:fs';

const at = (path) => new URL(`../${path}`, import.meta.url);

chmodSync(at('dist/cli.js'), 0o755);
// A profile that is gone from src/ must not live on in dist/.
rmSync(at('dist/capture/profiles'), { recursive: true, force: true });
cpSync(at('src/capture/profiles'), at('dist/capture/profiles'), { recursive: true });

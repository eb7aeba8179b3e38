import { createRequire } from 'node:module';
import { oneLine } from '../../detect/backend.js';
import { loadNative, type NativeAddon } from '../../native.js';
import { VERSION } from '../../version.js';
import { error, type Finding, fromError, ok } from '../finding.js';

const CHECK = 'node';

export interface NodeFacts {
  /** `20.20.2`. */
  version: string;
  /** `NODE_MODULE_VERSION`. */
  abi: string;
  napi: string;
  arch: string;
  platform: string;
  glibc: string | undefined;
}

export function nodeFacts(): NodeFacts {
  return {
    version: process.versions.node,
    abi: process.versions.modules,
    napi: process.versions.napi ?? '',
    arch: process.arch,
    platform: process.platform,
    glibc: glibcVersion(),
  };
}

/** Undefined on systems with another C library, where no binary package of ours loads. */
function glibcVersion(): string | undefined {
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime;
}

/** As `engines` in package.json: ^20.19.0 || >=22.12.0. */
function supported(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
}

/** What the native addon is linked against at the most (`scripts/symbol-versions.mjs`); the libraries from npm ask for less, lmdb's for more. */
const LEAST_GLIBC = '2.31';

function older(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = than.split('.').map(Number);
  return major < leastMajor || (major === leastMajor && minor < leastMinor);
}

/** Node.js, its C library, and the native addon. */
export function checkNode(
  facts: NodeFacts = nodeFacts(),
  load: () => Pick<NativeAddon, 'version'> = loadNative,
  loadStore: () => unknown = () => createRequire(import.meta.url)('lmdb'),
): Finding[] {
  const { version, abi, napi, arch, platform, glibc } = facts;
  const about = `Node.js ${version} (ABI ${abi}, Node-API ${napi}), ${platform}-${arch}, glibc ${glibc ?? 'none'}`;
  const findings: Finding[] = [];
  if (!supported(version)) {
    findings.push(
      error(
        CHECK,
        'NODE_UNSUPPORTED',
        `${about}: irst-edge needs Node.js 20.19 or later, or 22.12 or later`,
        'install Node.js 22 (https://nodejs.org/en/download), then run npm ci again',
        { ...facts },
      ),
    );
  } else if (glibc === undefined || older(glibc, LEAST_GLIBC)) {
    findings.push(
      error(
        CHECK,
        'GLIBC_TOO_OLD',
        `${about}: irst-edge needs glibc ${LEAST_GLIBC} or later`,
        'use Debian 11, Ubuntu 20.04 (JetPack 5) or later',
        { ...facts },
      ),
    );
  } else findings.push(ok(CHECK, 'NODE', about, { ...facts }));
  findings.push(checkAddon(load), checkStoreLibrary(loadStore));
  return findings;
}

/** Its library is compiled code of its own: without it events are kept in memory, and nothing but `health` says so. */
function checkStoreLibrary(load: () => unknown): Finding {
  try {
    load();
    return ok('store', 'STORE_LIBRARY', "the event store's library (lmdb) loads");
  } catch (cause) {
    return error(
      'store',
      'STORE_LIBRARY_BROKEN',
      `the event store's library (lmdb) does not load: ${oneLine((cause as Error).message)}: events are lost at a restart`,
      'in a checkout: npm rebuild lmdb --build-from-source (needs a compiler); the .deb brings its own',
    );
  }
}

function checkAddon(load: () => Pick<NativeAddon, 'version'>): Finding {
  let version: string;
  try {
    ({ version } = load());
  } catch (cause) {
    return fromError('addon', cause);
  }
  if (version === VERSION) return ok('addon', 'ADDON', `the native addon loads (${version})`, { version });
  return error(
    'addon',
    'ADDON_STALE',
    `the native addon was built from version ${version}, the program is ${VERSION}`,
    'build it again: npm run install',
    { version, program: VERSION },
  );
}

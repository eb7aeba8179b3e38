import { access, constants, readdir } from 'node:fs/promises';
import { describeApart } from '../../capture/describe-apart.js';
import { type DeviceHooks, describeDevice } from '../../capture/device.js';
import { type DeviceDescription, matchProfiles, sizeUnder } from '../../capture/profile-match.js';
import { loadProfiles, profileNamed, type StoredProfile } from '../../capture/profile-store.js';
import type { CameraConfig } from '../../config/schema.js';
import { EdgeError, errno } from '../../types/errors.js';
import { findProgram } from '../../util/programs.js';
import type { DoctorContext } from '../context.js';
import { error, type Finding, fromError, info, ok, warning } from '../finding.js';

const CHECK = 'camera';

export interface CameraHooks extends DeviceHooks {
  /** Nodes to look at where no camera is configured. Default: those in /dev. */
  nodes?: () => Promise<string[]>;
  /** The process that asks a driver, see `describeApart`. */
  child?: URL;
  /** Ends the asking. */
  signal?: AbortSignal;
}

/**
 * Each configured camera: there, permitted, with a profile that fits. Without a configured V4L2 camera: what is plugged in. Asks the
 * drivers what they offer and starts no stream, so a daemon that uses the camera is not disturbed.
 */
export async function checkCameras(
  { config, configured }: Pick<DoctorContext, 'config' | 'configured'>,
  hooks: CameraHooks = {},
): Promise<Finding[]> {
  let profiles: StoredProfile[];
  try {
    profiles = await loadProfiles(config.profilesDirectory);
  } catch (cause) {
    return [fromError('profiles', cause)];
  }
  const findings: Finding[] = [];
  const cameras = configured ? config.cameras.filter(({ enabled }) => enabled) : [];
  for (const camera of cameras) findings.push(...(await checkCamera(camera, profiles, hooks)));
  if (cameras.some(({ source }) => source.kind === 'v4l2')) return findings;
  const nodes = await (hooks.nodes ?? videoNodes)();
  if (nodes.length === 0) {
    const fix = 'v4l2-ctl --list-devices and dmesg tell of what was plugged in; docs/capture.md';
    findings.push(info(CHECK, 'NO_CAMERA', 'no V4L2 camera is plugged in (/dev/video*)', undefined, fix));
  }
  for (const node of nodes) findings.push(await checkNode(node, profiles, hooks));
  return findings;
}

async function checkCamera(
  { id, source }: CameraConfig,
  profiles: readonly StoredProfile[],
  hooks: CameraHooks,
): Promise<Finding[]> {
  switch (source.kind) {
    case 'v4l2':
      return [await checkV4l2(id, source.device, source.profile, profiles, hooks)];
    case 'recording':
      try {
        await access(source.path, constants.R_OK);
        return [ok(CHECK, 'RECORDING', `${id}: the recording ${source.path} can be read`)];
      } catch (cause) {
        return [
          error(
            CHECK,
            errno(cause) === 'ENOENT' ? 'INPUT_NOT_FOUND' : 'INPUT_UNREADABLE',
            `${id}: the recording ${source.path} cannot be read: ${errno(cause)}`,
            'check the path and who may read it',
          ),
        ];
      }
    case 'ffmpeg': {
      const findings: Finding[] = [];
      for (const program of [source.ffmpegPath, source.ffprobePath]) {
        const found = await findProgram(program);
        if (found === undefined)
          findings.push(
            error(CHECK, 'FFMPEG_MISSING', `${id}: ${program} is not installed`, 'sudo apt-get install ffmpeg'),
          );
      }
      return findings.length > 0 ? findings : [ok(CHECK, 'FFMPEG', `${id}: ffmpeg and ffprobe are installed`)];
    }
    case 'synthetic':
      return [ok(CHECK, 'SYNTHETIC', `${id}: a computed scene, no camera`)];
  }
}

async function checkV4l2(
  id: string,
  device: string,
  named: string | undefined,
  profiles: readonly StoredProfile[],
  hooks: CameraHooks,
): Promise<Finding> {
  try {
    const description = await describe(device, hooks);
    const data = { camera: id, device, ...description };
    if (named !== undefined) {
      const { profile } = profileNamed(named, profiles);
      const { width, height } = sizeUnder(description, profile);
      return ok(CHECK, 'CAMERA', `${id}: ${description.card} (${device}), profile ${named}, ${width}x${height}`, data);
    }
    const fit = matchProfiles(description, profiles).fits[0];
    if (fit !== undefined) {
      const { stored, width, height } = fit;
      return ok(
        CHECK,
        'CAMERA',
        `${id}: ${description.card} (${device}), profile ${stored.profile.id}, ${width}x${height}`,
        {
          ...data,
          profile: stored.profile.id,
        },
      );
    }
    return error(
      CHECK,
      'CAMERA_FORMAT_UNSUPPORTED',
      `${id}: no camera profile fits ${description.card} (${device}), which has ${formatsOf(description)}`,
      `irst-edge probe proposes a profile from frames of it; docs/cameras.md`,
      data,
    );
  } catch (cause) {
    // A camera that is not plugged in at the moment is waited for.
    const waits = cause instanceof EdgeError && ['CAMERA_NOT_FOUND', 'CAMERA_BUSY'].includes(cause.code);
    return fromError(CHECK, cause, waits ? 'warning' : 'error', { camera: id, device });
  }
}

/** A real driver may hang: it is asked from another process. */
async function describe(device: string, hooks: CameraHooks): Promise<DeviceDescription> {
  return hooks.open === undefined ? describeApart(device, hooks) : describeDevice(device, hooks);
}

/** A node that nobody has configured: anything may be wrong with it without harm. */
async function checkNode(node: string, profiles: readonly StoredProfile[], hooks: CameraHooks): Promise<Finding> {
  try {
    const description = await describe(node, hooks);
    const data = { device: node, ...description };
    const [best, ...others] = matchProfiles(description, profiles).fits.map(({ stored }) => stored.profile.id);
    const which =
      best === undefined
        ? 'no profile fits'
        : `profile ${best}${others.length > 0 ? ` (also ${others.join(', ')})` : ''}`;
    const line = `${node}: ${description.card}, ${formatsOf(description)}; ${which}`;
    return info(CHECK, 'CAMERA_FOUND', line, data, `use it: irst-edge run --input v4l2:${node}`);
  } catch (cause) {
    if (cause instanceof EdgeError && cause.code === 'CAMERA_NOT_CAPTURE') {
      return info(CHECK, 'CAMERA_OTHER_NODE', cause.message, { device: node });
    }
    const found = fromError(CHECK, cause, 'warning', { device: node });
    return warning(CHECK, found.code, found.message, found.fix!, { device: node });
  }
}

function formatsOf({ formats }: DeviceDescription): string {
  const sizes = (list: DeviceDescription['formats'][number]['sizes']) =>
    list
      .slice(0, 4)
      .map((s) =>
        'width' in s ? `${s.width}x${s.height}` : `${s.minWidth}x${s.minHeight} to ${s.maxWidth}x${s.maxHeight}`,
      )
      .join(' ');
  return formats.map((f) => `"${f.fourcc}" ${sizes(f.sizes)}`).join(', ') || 'no format';
}

async function videoNodes(): Promise<string[]> {
  const names = await readdir('/dev').catch(() => [] as string[]);
  return names
    .filter((name) => /^video\d+$/.test(name))
    .sort((a, b) => Number(a.slice(5)) - Number(b.slice(5)))
    .map((name) => `/dev/${name}`);
}

import { type Command, InvalidArgumentError } from 'commander';
import { checkDevice, describeDevice } from '../capture/device.js';
import { type DeviceDescription, matchProfiles } from '../capture/profile-match.js';
import { proposeProfile, type SampleFrames } from '../capture/profile-proposal.js';
import { loadProfiles } from '../capture/profile-store.js';
import { fourccOf, readRawSample } from '../capture/raw-sample.js';
import { numberOption, sizeOption } from './inputs.js';
import { globalOptions, print, printJson, printNote, usageError, writeOutputFile } from './shared.js';

interface ProbeOptions {
  device?: string;
  recording?: string;
  size?: { width: number; height: number };
  fourcc?: string;
  bytesPerLine?: number;
  id?: string;
  profiles?: string;
  output?: string;
}

/** What a driver says of the camera `/dev/video0` or `usb:1e4e:0100`. Throws `EdgeError`. */
export type DescribeDevice = (device: string) => DeviceDescription;

/** The addon is loaded by `describe`, so never for a recording alone. */
export function register(program: Command, describe: DescribeDevice = describeDevice): void {
  program
    .command('probe')
    .description(
      'propose a profile for a camera that none is known for, from what it says of itself and from frames of it',
    )
    .option('--device <device>', 'the camera: /dev/video0, or usb:1e4e:0100', device)
    .option('--recording <file>', 'frames of it as delivered, back to back, as v4l2-ctl --stream-to writes them')
    .option('--size <WxH>', 'size of the recorded frames, px; default: from NAME.json beside the file', sizeOption)
    .option('--fourcc <code>', 'pixel format of the recording, such as Y16, Y16-BE, GREY, YUYV', fourcc)
    .option(
      '--bytes-per-line <n>',
      'from one recorded row to the next, bytes; default: no gap',
      numberOption(4, 65_536, true),
    )
    .option('--id <name>', 'name of the profile; default: after the camera', profileId)
    .option('--profiles <dir>', 'folder of your own profiles, to be compared with the camera too')
    .option('--output <file>', 'write the profile into this file instead of printing it')
    .action((options: ProbeOptions, command: Command) => probe(options, globalOptions(command).json, describe));
}

function device(text: string): string {
  try {
    checkDevice(text);
  } catch {
    throw new InvalidArgumentError('expected a path such as /dev/video0, or usb:1e4e:0100');
  }
  return text;
}

function fourcc(text: string): string {
  if (!/^[ -~]{1,4}(-BE)?$/.test(text)) throw new InvalidArgumentError('expected up to four characters, such as Y16');
  return fourccOf(text);
}

function profileId(text: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(text))
    throw new InvalidArgumentError('expected 1 to 64 characters a-z, 0-9 or "-"');
  return text;
}

async function probe(options: ProbeOptions, json: boolean, describe: DescribeDevice): Promise<void> {
  const { recording } = options;
  if (options.device === undefined && recording === undefined) throw usageError('probe needs --device or --recording');
  const device = options.device === undefined ? undefined : describe(options.device);
  let sample: SampleFrames | undefined;
  const notes: string[] = [];
  if (recording !== undefined) {
    const { fourcc, size, bytesPerLine } = options;
    const read = await readRawSample({
      path: recording,
      ...(fourcc !== undefined && { fourcc }),
      ...(size !== undefined && { size }),
      ...(bytesPerLine !== undefined && { bytesPerLine }),
    });
    sample = read.sample;
    if (read.left > 0) notes.push(`the last ${read.left} bytes are no whole frame: is the size right?`);
  }
  const proposal = proposeProfile(device, sample, options.id);
  const fits =
    device === undefined
      ? []
      : matchProfiles(device, await loadProfiles(options.profiles)).fits.map(({ stored }) => stored.profile.id);
  if (fits.length > 0) notes.push(`profiles that fit it already, the best first: ${fits.join(', ')}`);
  notes.push(...proposal.findings);
  const text = JSON.stringify(proposal.input, null, 2);
  if (options.output !== undefined) await writeOutputFile(options.output, `${text}\n`);
  if (json) {
    await printJson({ profile: proposal.input, findings: notes, fits });
    return;
  }
  for (const note of notes) await printNote(note);
  if (options.output === undefined) await print(text);
  else await print(options.output);
}

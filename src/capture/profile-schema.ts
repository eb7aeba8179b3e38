import { z } from 'zod';
import { EdgeError, EXIT } from '../types/errors.js';
import { FFC_SIGNS } from '../types/frame.js';
import { FOURCC_LAYOUTS, layoutOf } from './pixel-layout.js';
import { TELEMETRY_PARSERS } from './telemetry.js';

// The one source of what a camera profile may say: types, checks and JSON Schema (docs/schemas/camera-profile.schema.json).

const LARGEST = 16_384;

const rows = z.int().min(1).max(LARGEST);

const match = z
  .strictObject({
    usb: z
      .array(z.string().regex(/^[0-9a-f]{4}:[0-9a-f]{4}$/, 'a USB id vvvv:pppp of lower-case hexadecimal digits'))
      .min(1)
      .max(32)
      .exactOptional()
      .describe('USB ids vendor:product, lower-case hexadecimal digits (1 to 32); one of them fits.'),
    card: z
      .array(z.string().min(1).max(64))
      .min(1)
      .max(32)
      .exactOptional()
      .describe('Parts of the name that the driver gives the camera, any letter case (1 to 32); one of them fits.'),
    driver: z
      .array(z.string().min(1).max(64))
      .min(1)
      .max(32)
      .exactOptional()
      .describe('Names of drivers, such as uvcvideo (1 to 32); one of them is needed.'),
  })
  .describe(
    'Which cameras it is for: a USB id or a part of the name fits, and the driver is one of those named. Empty: any camera.',
  );

const imageRows = z
  .strictObject({
    top: z.int().min(0).max(LARGEST).describe('First row of the picture, counted from 0 (0 to 16384).'),
    height: rows.describe('Rows of the picture (1 to 16384).'),
  })
  .describe('Which rows of a delivered frame are the picture. Default: all of them.');

const telemetry = z
  .strictObject({
    top: z.int().min(0).max(LARGEST).describe('First row of telemetry, counted from 0 (0 to 16384).'),
    rows: z.int().min(1).max(64).describe('Rows of telemetry (1 to 64).'),
    parser: z
      .enum(TELEMETRY_PARSERS)
      .describe('How they are read: lepton, boson, xtherm; none: they are only cut off.'),
  })
  .describe('Rows beside the picture that hold what the camera says of itself. Default: none.');

const ffc = z
  .strictObject({
    detect: z
      .array(z.enum(FFC_SIGNS))
      .max(3)
      .describe(
        'Signs of a flat-field correction (0 to 3). telemetry: the camera says so; freeze: the same picture several times; ' +
          'step: the whole picture grows brighter or darker at once. Empty: none is noticed.',
      ),
    settleMs: z
      .int()
      .min(0)
      .max(60_000)
      .default(2000)
      .describe('How long pictures are not trusted after a correction, ms (0 to 60000).'),
  })
  .describe('How flat-field corrections (shutter events) are noticed.');

export const profileSchema = z
  .strictObject({
    id: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'a name of 1 to 64 characters a-z, 0-9 or "-"')
      .describe('Name of the profile, unique; the name of its file without .json.'),
    name: z.string().min(1).max(128).describe('What it is for, one line for people.'),
    match: match.prefault({}),
    automatic: z
      .boolean()
      .default(true)
      .describe('Whether it is chosen by itself when it fits; false: only when it is named.'),
    fourcc: z
      .string()
      .regex(/^[ -~]{4}(-BE)?$/, 'four printable characters, with -BE for a big-endian format, such as "Y16 "')
      .describe('V4L2 pixel format that the camera names, four characters, blanks included; "Y16 -BE": big-endian.'),
    content: z
      .enum(['counts', 'luma'])
      .exactOptional()
      .describe(
        'What a sample is. counts: a number of 16 bits in two bytes, whatever the format is called; luma: 8 bits of brightness. ' +
          'Default: what the pixel format says; a YUV format is luma.',
      ),
    width: rows.exactOptional().describe('Columns of a delivered frame (1 to 16384). Default: any.'),
    height: rows
      .exactOptional()
      .describe('Rows of a delivered frame, telemetry and all (1 to 16384). Default: any; goes with width.'),
    imageRows: imageRows.exactOptional(),
    telemetry: telemetry.exactOptional(),
    bits: z
      .int()
      .min(8)
      .max(16)
      .exactOptional()
      .describe('Significant bits of a count, after the shift (8 to 16). Default: what the pixel format says.'),
    shift: z
      .int()
      .min(0)
      .max(8)
      .default(0)
      .describe('By how many bits counts stand too far to the left, as in left-justified formats (0 to 8).'),
    endian: z
      .enum(['little', 'big'])
      .exactOptional()
      .describe('Which byte of a count comes first: little: the low one. Default: what the pixel format says.'),
    fpsNominal: z.number().min(0.1).max(1000).exactOptional().describe('Usual rate, frames per second (0.1 to 1000).'),
    ffc: ffc.prefault({ detect: [] }),
    verified: z
      .enum(['recording', 'documentation', 'standard'])
      .default('documentation')
      .describe(
        'What the profile rests on. recording: frames of such a camera; documentation: what others wrote of it; ' +
          'standard: the definition of the pixel format.',
      ),
    sources: z.array(z.string().min(1).max(512)).max(16).default([]).describe('Where the facts are from (0 to 16).'),
    notes: z.string().max(2048).exactOptional().describe('What a user should know.'),
  })
  .meta({
    title: 'irst-edge camera profile',
    description: 'How the frames of a kind of camera are read. One JSON file a profile; see docs/cameras.md.',
  });

/** A checked profile with its defaults filled in. */
export type CameraProfile = z.output<typeof profileSchema>;
/** What a file may hold: keys with defaults may be absent. */
export type CameraProfileInput = z.input<typeof profileSchema>;

/** JSON Schema (2020-12) of a profile's file, for editors and for docs/schemas. */
export function profileJsonSchema(): object {
  return { $id: 'urn:irst-edge:schema:camera-profile', ...z.toJSONSchema(profileSchema, { io: 'input' }) };
}

/**
 * Checks a profile. `where` names it in the error, a path for instance.
 * @throws EdgeError PROFILE_INVALID, with every field that is wrong
 */
export function parseProfile(raw: unknown, where: string): CameraProfile {
  const parsed = profileSchema.safeParse(raw);
  const wrong = parsed.success ? crossChecks(parsed.data) : parsed.error.issues.flatMap(describeIssue);
  if (!parsed.success || wrong.length > 0) {
    throw new EdgeError('PROFILE_INVALID', `${where} is no camera profile: ${wrong.join('; ')}`, {
      hint: 'docs/schemas/camera-profile.schema.json describes every field, docs/cameras.md shows an example',
      exitCode: EXIT.config,
    });
  }
  return parsed.data;
}

function describeIssue(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => `${pathOf([...issue.path, key])}: unknown field`);
  return [`${pathOf(issue.path)}: ${issue.message}`];
}

function pathOf(parts: readonly PropertyKey[]): string {
  if (parts.length === 0) return 'the whole file';
  return parts
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`))
    .join('');
}

/** Rules between fields. */
function crossChecks(p: CameraProfile): string[] {
  const wrong: string[] = [];
  if ((p.width === undefined) !== (p.height === undefined)) {
    wrong.push(
      `${p.width === undefined ? 'width' : 'height'}: goes with ${p.width === undefined ? 'height' : 'width'}`,
    );
  }
  for (const key of ['imageRows', 'telemetry'] as const) {
    const part = p[key];
    if (part === undefined) continue;
    if (p.height === undefined) wrong.push(`${key}: needs width and height`);
    else {
      const end = part.top + ('height' in part ? part.height : part.rows);
      if (end > p.height) wrong.push(`${key}: ends at row ${end}, a frame has ${p.height} (height)`);
    }
  }
  const { imageRows: image, telemetry: rowsOf } = p;
  if (rowsOf !== undefined) {
    const from = image?.top ?? 0;
    const to = from + (image?.height ?? p.height ?? 0);
    if (rowsOf.top < to && rowsOf.top + rowsOf.rows > from) wrong.push('telemetry: lies within imageRows');
  }
  if (FOURCC_LAYOUTS[p.fourcc] === undefined && p.content === undefined) {
    wrong.push(`content: ${JSON.stringify(p.fourcc)} is not known, so it must be said`);
  }
  const layout = layoutOf(p);
  if (layout.sampleBytes === 1) {
    if (p.bits !== undefined && p.bits !== 8) wrong.push(`bits: luma has 8, not ${p.bits}`);
    if (p.shift !== 0) wrong.push('shift: luma is not shifted');
    if (p.endian !== undefined) wrong.push('endian: luma is one byte');
    if (rowsOf !== undefined && rowsOf.parser !== 'none') {
      wrong.push(`telemetry.parser: ${rowsOf.parser} reads counts of 16 bits, not luma`);
    }
  } else if (p.shift + layout.bits > 16) wrong.push(`shift: ${p.shift} and ${layout.bits} bits are more than 16`);
  if (
    p.ffc.detect.includes('telemetry') &&
    (rowsOf === undefined || rowsOf.parser === 'none' || rowsOf.parser === 'xtherm')
  ) {
    wrong.push('ffc.detect: "telemetry" needs telemetry whose parser knows of corrections (lepton, boson)');
  }
  return wrong;
}

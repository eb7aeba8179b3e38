import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import sharp from 'sharp';
import { parse } from 'yaml';
import { parseBrokerUrl, redactUrl } from '../../src/alerts/broker-url.js';
import { Commands } from '../../src/alerts/commands.js';
import { EXAMPLES } from '../../src/alerts/examples.js';
import { eventFromCbor, eventToCbor } from '../../src/alerts/mappers/cbor.js';
import { decodeRecord, encodeRecord, type OutboxRecord } from '../../src/alerts/outbox-record.js';
import { COMMAND_NAMES, parseCommand, topics } from '../../src/alerts/schema.js';
import { applyMessage, EMPTY_MODEL, readMessage, renderTable } from '../../src/alerts/watch-model.js';
import { parseInput, redact } from '../../src/capture/ffmpeg-input.js';
import { readProbe } from '../../src/capture/ffmpeg-probe.js';
import { FrameDecoder } from '../../src/capture/frame-decoder.js';
import { readGreyImage } from '../../src/capture/image-file.js';
import { proposeProfile } from '../../src/capture/profile-proposal.js';
import { parseProfile } from '../../src/capture/profile-schema.js';
import { loadProfiles, readProfile } from '../../src/capture/profile-store.js';
import { createTelemetryParser, TELEMETRY_PARSERS } from '../../src/capture/telemetry.js';
import { openY16 } from '../../src/capture/y16.js';
import { applyEnvironment } from '../../src/config/environment.js';
import { loadConfig } from '../../src/config/load.js';
import { redactText } from '../../src/config/redact.js';
import { validate } from '../../src/config/validate.js';
import { readManifest } from '../../src/detect/manifest.js';
import { EdgeError } from '../../src/types/errors.js';
import { parsePublicKey, parseSignature, verifySignature } from '../../src/util/minisign.js';
import { changedJson, mutated } from './mutate.js';

/** Something that reads what others wrote. Any input is taken, or refused with an `EdgeError`; anything else is a crash. */
export interface FuzzTarget {
  name: string;
  /** Share of the runs asked for that it gets: slow ones fewer. */
  share: number;
  property(folder: string): Promise<fc.IAsyncProperty<unknown> | fc.IProperty<unknown>>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const text = (path: string) => readFileSync(join(ROOT, path), 'utf8');

/** Runs what may refuse: an `EdgeError` with a code and one line of text is an answer. */
async function taken<T>(run: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof EdgeError)) throw error;
    if (!/^[A-Z][A-Z0-9_]+$/.test(error.code) || error.message.includes('\n'))
      throw new Error(`no proper error: ${error.code}: ${error.message}`);
    return undefined;
  }
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** A folder of its own for a target's input. */
function place(folder: string, name: string): (file: string, content: string | Uint8Array) => string {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  return (file, content) => {
    const path = join(own, file);
    writeFileSync(path, content);
    return path;
  };
}

const bytes = (maxLength = 400) => fc.uint8Array({ maxLength });

const sampleConfig = () => text('systemd/irst-edge.sample.yaml');
const fullConfig = () => sampleConfig().replaceAll(/^(\s*)#(?=[^\s#])/gm, '$1');

/** Pictures of every kind that is read, and some that are not. */
async function pictures(): Promise<Buffer[]> {
  const raw = (channels: 1 | 3 | 4) => ({ raw: { width: 9, height: 7, channels } });
  const grey = Buffer.from(Array.from({ length: 63 }, (_, i) => (i * 37) & 255));
  const colour = Buffer.from(Array.from({ length: 252 }, (_, i) => (i * 73) & 255));
  const wide = sharp(
    Uint16Array.from({ length: 63 }, (_, i) => (i * 9973) & 0xffff),
    raw(1),
  ).toColourspace('grey16');
  return Promise.all([
    sharp(grey, raw(1)).png().toBuffer(),
    sharp(colour.subarray(0, 189), raw(3)).png().toBuffer(),
    sharp(colour, raw(4)).png({ palette: true }).toBuffer(),
    wide.clone().png().toBuffer(),
    wide.clone().tiff({ compression: 'none' }).toBuffer(),
    wide.clone().tiff({ compression: 'lzw', tile: true, tileWidth: 16, tileHeight: 16 }).toBuffer(),
    sharp(grey, raw(1)).tiff({ compression: 'deflate' }).toBuffer(),
    sharp(grey, raw(1)).jpeg().toBuffer(),
  ]);
}

const record: OutboxRecord = {
  id: '01JQ0000000000000000000000',
  seq: 7,
  kind: 'new',
  severity: 2,
  topic: 'irst/mast/cam0/events',
  payload: Buffer.from('{"type":"new"}'),
  createdAtMs: 1_700_000_000_000,
  expiresAtMs: 1_700_000_060_000,
};

export const TARGETS: readonly FuzzTarget[] = [
  {
    name: 'configuration: file',
    share: 0.3,
    async property(folder) {
      const put = place(folder, 'config');
      const seeds = [sampleConfig(), fullConfig(), JSON.stringify(parse(fullConfig()))].map((s) => Buffer.from(s));
      const input = fc.oneof(
        mutated(seeds),
        bytes(),
        fc.string({ maxLength: 300 }).map((s) => Buffer.from(s)),
      );
      return fc.asyncProperty(input, async (content) => {
        await taken(() => loadConfig(put('c.yaml', content), {}));
      });
    },
  },
  {
    name: 'configuration: values',
    share: 1,
    async property() {
      const seeds = [parse(fullConfig()), parse(sampleConfig())] as unknown[];
      return fc.property(fc.oneof(changedJson(seeds), fc.jsonValue()), (raw) => {
        const checked = validate(raw);
        if ('issues' in checked) check(checked.issues.length > 0, 'refused without a reason');
      });
    },
  },
  {
    name: 'configuration: environment',
    share: 1,
    async property() {
      const raw = parse(sampleConfig()) as unknown;
      const part = fc.oneof(
        fc.constantFrom('CAMERAS', 'MQTT', 'URL', '0', '1', '99999999999', 'SOURCE', 'LOG', 'LEVEL', '__PROTO__', ''),
        fc.string({ maxLength: 12 }),
      );
      const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => `IRST_EDGE__${parts.join('__')}`);
      return fc.property(fc.dictionary(name, fc.string({ maxLength: 60 }), { maxKeys: 4 }), (env) => {
        const applied = applyEnvironment(raw, env);
        validate(applied.raw);
        check(({} as Record<string, unknown>).polluted === undefined, 'Object.prototype was changed');
      });
    },
  },
  {
    name: 'secrets: redaction of URLs',
    share: 1,
    async property() {
      const word = fc.stringMatching(/^[A-Za-z0-9]{1,12}$/);
      const secret = fc.stringMatching(/^[A-Za-z0-9!$%&*+,;=._~-]{1,8}SECRET[A-Za-z0-9!$*+,;=._~-]{0,8}$/);
      const scheme = fc.constantFrom('mqtt', 'mqtts', 'rtsp', 'http', 'https', 'tcp');
      const around = fc.stringMatching(/^[a-z ]{0,12}$/);
      return fc.property(scheme, word, secret, word, around, around, (kind, user, password, host, before, after) => {
        const url = `${kind}://${user}:${password}@${host}:1234/path`;
        for (const said of [
          redactText(`${before} ${url} ${after}`),
          redact(`${before} ${url} ${after}`, url),
          redactUrl(url),
          parseInput(url).name,
        ])
          check(!said.includes('SECRET'), `told the password: ${said}`);
      });
    },
  },
  {
    name: 'broker URL',
    share: 1,
    async property() {
      const like = fc.tuple(fc.constantFrom('mqtt://', 'mqtts://', 'ws://', 'x:', ''), fc.string({ maxLength: 60 }));
      return fc.asyncProperty(
        fc.oneof(
          fc.webUrl(),
          like.map((parts) => parts.join('')),
        ),
        async (url) => {
          await taken(() => parseBrokerUrl(url));
        },
      );
    },
  },
  {
    name: 'recording: .y16 and its sidecar',
    share: 0.3,
    async property(folder) {
      const put = place(folder, 'y16');
      const sidecars = [
        { width: 4, height: 3, frames: 2, fps: 30, bits: 14 },
        { width: 16384, height: 16384 },
      ];
      const sidecar = fc.oneof(
        changedJson(sidecars).map((value) => JSON.stringify(value) ?? ''),
        fc.string({ maxLength: 80 }),
      );
      return fc.asyncProperty(sidecar, bytes(200), async (json, content) => {
        put('r.json', json);
        const path = put('r.y16', content);
        await taken(async () => {
          const reader = await openY16(path);
          try {
            for (let i = 0; i < Math.min(4, reader.frames); i++) {
              const result = await reader.read(i);
              if (result.ok)
                check(result.pixels.data.length === reader.width * reader.height, 'a frame of another size');
            }
          } finally {
            await reader.close();
          }
        });
      });
    },
  },
  {
    name: 'recording: PNG and TIFF',
    share: 0.3,
    async property(folder) {
      const put = place(folder, 'images');
      return fc.asyncProperty(fc.oneof(mutated(await pictures(), 6), bytes()), async (content) => {
        const image = await taken(() => readGreyImage(put('p.png', content)));
        if (image !== undefined) check(image.data.length === image.width * image.height, 'a picture of another size');
      });
    },
  },
  {
    name: 'stream: what ffprobe says',
    share: 1,
    async property() {
      const answer = {
        program_version: { version: '5.1.6' },
        streams: [{ width: 640, height: 512, pix_fmt: 'gray16le', avg_frame_rate: '30/1', nb_frames: '100' }],
        format: { duration: '3.3' },
      };
      const input = parseInput('rtsp://camera/stream');
      const said = fc.oneof(
        changedJson([answer]).map((value) => JSON.stringify(value) ?? ''),
        fc.string(),
      );
      return fc.asyncProperty(said, async (json) => {
        const probe = await taken(() => readProbe(json, input));
        if (probe !== undefined) check(probe.width > 0 && probe.height > 0, 'a stream without a size');
      });
    },
  },
  {
    name: 'telemetry rows',
    share: 1,
    async property() {
      const words = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 0, maxLength: 200 });
      return fc.property(
        fc.constantFrom(...TELEMETRY_PARSERS),
        fc.array(words, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 200 }),
        (name, frames, width) => {
          const parser = createTelemetryParser(name);
          for (const row of frames) {
            const told = parser?.parse({
              width,
              count: row.length,
              word(index) {
                check(index >= 0 && index < row.length, `read word ${index} of ${row.length}`);
                return row[index]!;
              },
            });
            for (const value of Object.values(told ?? {}))
              if (typeof value === 'number') check(Number.isFinite(value), 'told a figure that is none');
          }
        },
      );
    },
  },
  {
    name: 'camera profile: file',
    share: 0.3,
    async property(folder) {
      const put = place(folder, 'profiles');
      const seeds = (await loadProfiles()).map(({ file }) => readFileSync(file));
      return fc.asyncProperty(fc.oneof(mutated(seeds, 4), bytes()), async (content) => {
        await taken(() => readProfile(put('lepton-3-purethermal.json', content)));
      });
    },
  },
  {
    name: 'camera profile: frames by any profile',
    share: 1,
    async property() {
      const seeds = (await loadProfiles()).map(({ profile }) => profile);
      const size = fc.record({ width: fc.integer({ min: 1, max: 48 }), height: fc.integer({ min: 1, max: 48 }) });
      const raw = fc.record({
        bytesPerLine: fc.integer({ min: 0, max: 120 }),
        bytesUsed: fc.integer({ min: 0, max: 5000 }),
      });
      return fc.asyncProperty(changedJson(seeds), size, raw, bytes(5000), async (any, given, layout, content) => {
        const profile = await taken(() => parseProfile(any, 'fuzz'));
        // A valid profile may be for frames of half a gigabyte; that is no find.
        if (profile === undefined || (profile.width ?? 1) * (profile.height ?? 1) > 1 << 20) return;
        const decoder = await taken(() => new FrameDecoder(profile, profile.width === undefined ? given : undefined));
        for (let i = 0; i < 2; i++) {
          const frame = await taken(() => decoder?.decode(content, layout));
          if (frame !== undefined) check(frame.data.length === frame.width * frame.height, 'a frame of another size');
        }
      });
    },
  },
  {
    name: 'camera profile: proposal from any bytes',
    share: 0.2,
    async property() {
      const sample = fc.record({
        fourcc: fc.oneof(
          fc.constantFrom('Y16 ', 'GREY', 'YUYV', 'NV12', 'Y14 ', 'Y16 -BE'),
          fc.string({ maxLength: 4 }),
        ),
        width: fc.integer({ min: 1, max: 40 }),
        height: fc.integer({ min: 1, max: 40 }),
        frames: fc.array(bytes(3200), { maxLength: 3 }),
      });
      return fc.asyncProperty(sample, async (input) => {
        await taken(() => proposeProfile(undefined, input));
      });
    },
  },
  {
    name: 'MQTT commands',
    share: 1,
    async property() {
      const names = topics('irst', 'mast');
      const topic = fc.oneof(
        fc.constantFrom(...COMMAND_NAMES.map((name) => names.commandSet('cam0', name))),
        fc.string().map((rest) => `irst/mast/cam0/${rest}`),
        fc.string(),
      );
      const payload = fc.oneof(
        bytes(),
        fc.json().map((json) => Buffer.from(json)),
        changedJson([{ value: true, id: 'a' }, { value: 0.5 }]).map((value) =>
          Buffer.from(JSON.stringify(value) ?? ''),
        ),
        fc.integer({ min: 900, max: 3000 }).map((n) => Buffer.alloc(n, '1')),
      );
      const message = fc.tuple(topic, payload, fc.boolean());
      return fc.asyncProperty(fc.array(message, { maxLength: 12 }), async (messages) => {
        let answers = 0;
        const commands = new Commands({
          device: 'mast',
          cameras: ['cam0'],
          onCommand: async (_name, _camera, value) => ({ ok: true, value: value as never }),
          answer: (to, json) => {
            answers++;
            check(to.startsWith('irst/mast/cam0/') && JSON.parse(json).schema === 'irst-edge/command-answer/1', to);
          },
        });
        for (const [to, content, retain] of messages) commands.onMessage(to, content, { retain });
        await new Promise((resolve) => setImmediate(resolve));
        const { received, done, refused, dropped, pending } = commands.counters();
        const gone = Object.values(dropped).reduce((a, b) => a + b, 0);
        check(received === messages.length && received === done + refused + gone + pending, 'a command without a fate');
        check(answers === done + refused, 'an answer too many');
        commands.stop();
      });
    },
  },
  {
    name: 'MQTT command payloads',
    share: 1,
    async property() {
      return fc.property(fc.constantFrom(...COMMAND_NAMES), bytes(2000), (name, content) => {
        const parsed = parseCommand(name, content);
        if (!parsed.ok) check(parsed.error.code.startsWith('COMMAND_'), parsed.error.code);
      });
    },
  },
  {
    name: 'watch: messages of any broker',
    share: 1,
    async property() {
      const seeds = Object.values(EXAMPLES) as unknown[];
      const rest = fc.constantFrom(
        'available',
        'status',
        'stats',
        'cam0/events',
        'cam0/state',
        'cam0/detections',
        'cam0/x/state',
      );
      const payload = fc.oneof(
        changedJson(seeds).map((value) => Buffer.from(JSON.stringify(value) ?? '')),
        bytes(),
      );
      const message = fc.tuple(fc.oneof(rest, fc.string()), payload);
      return fc.property(fc.array(message, { maxLength: 6 }), (messages) => {
        let model = EMPTY_MODEL;
        for (const [to, content] of messages)
          model = applyMessage(model, readMessage('irst', `irst/mast/${to}`, content), 1_700_000_000_000);
        const lines = renderTable(model, { nowMs: 1_700_000_000_000, width: 100, height: 40, colour: false });
        for (const line of lines) check(!/\p{Cc}/u.test(line), 'a control character in the terminal');
      });
    },
  },
  {
    name: 'outbox records',
    share: 1,
    async property() {
      const seeds = [encodeRecord(record), encodeRecord({ ...record, kind: 'end', payload: Buffer.alloc(0) })];
      return fc.property(fc.oneof(mutated(seeds), bytes()), (content) => {
        const decoded = decodeRecord(content);
        if ('record' in decoded) check(encodeRecord(decoded.record).length > 0, 'cannot be written again');
      });
    },
  },
  {
    name: 'CBOR events',
    share: 0.5,
    async property() {
      const seed = eventToCbor(EXAMPLES.event as never);
      return fc.property(fc.oneof(mutated([seed]), bytes()), (content) => {
        try {
          eventFromCbor(content);
        } catch (error) {
          check(
            error instanceof Error && !(error instanceof RangeError && /stack/i.test(error.message)),
            String(error),
          );
        }
      });
    },
  },
  {
    name: 'model manifest',
    share: 0.3,
    async property(folder) {
      const put = place(folder, 'model');
      const manifest = text('models/manifest.json');
      const input = fc.oneof(
        mutated([Buffer.from(manifest)]),
        changedJson([JSON.parse(manifest)]).map((value) => Buffer.from(JSON.stringify(value) ?? '')),
      );
      return fc.asyncProperty(input, async (content) => {
        const read = await taken(() => readManifest(put('manifest.json', content)));
        for (const file of read?.files ?? []) check(!/[/\\]/.test(file.file), `a file elsewhere: ${file.file}`);
      });
    },
  },
  {
    name: 'model signature',
    share: 0.3,
    async property() {
      const seeds = ['prehashed.minisig', 'legacy.minisig'].map((name) => text(`test/fixtures/minisign/${name}`));
      const signed = Buffer.from(text('test/fixtures/minisign/signed.txt'));
      const key = parsePublicKey(text('test/fixtures/minisign/key.pub'))!;
      const [, first, trusted, second] = seeds.map((seed) => seed.split('\n'))[0]!;
      const genuine = new Set(seeds.flatMap((seed) => seed.split('\n').slice(1, 4)));
      return fc.property(fc.oneof(mutated(seeds.map((s) => Buffer.from(s))), bytes()), (content) => {
        const said = content.toString('utf8');
        parsePublicKey(said);
        const signature = parseSignature(said);
        if (signature === undefined || !verifySignature(signed, signature, key)) return;
        // The untrusted comment may say anything; the rest must be what minisign wrote.
        const lines = said.split(/\r?\n/).slice(1, 4);
        check(
          lines.every((line) => genuine.has(line)) && first !== trusted && second !== '',
          'a forged signature holds',
        );
      });
    },
  },
];

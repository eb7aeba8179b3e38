import { z } from 'zod';
import { BACKENDS, PROVIDERS } from '../types/provider.js';
import { parsePublicKey } from '../util/minisign.js';
import { CONFIG_VERSION } from './version.js';

// The one source of the configuration's types, defaults, checks and JSON Schema. Every key has a description, with its unit.
//
// `.exactOptional()`: a key is there or not, never `undefined`. `.prefault({})`: an absent section gets its keys' defaults.
// Metadata beside the description travels into the JSON Schema; `x-path` marks what `load.ts` resolves against the file's folder.

const LONGEST = 4096;

/** A file or folder. */
const path = (description: string) =>
  z.string().min(1).max(LONGEST).meta({ description, format: 'path', 'x-path': 'path' });

/** Stands in MQTT topics, file names and logs. */
const id = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,63}$/,
    'a name of 1 to 64 characters a-z, 0-9, "-", "_" or ".", beginning with a letter or digit',
  );

const threshold = z.number().min(0).max(1);

const fps = z.number().min(0.1).max(1000);

const counts = z.number().min(0).max(65535);

const timeoutMs = z.int().min(100).max(600_000);

const recording = z
  .strictObject({
    kind: z.literal('recording').describe('Frames from files.'),
    path: path(
      'Folder of 8- or 16-bit PNG or TIFF pictures, one picture, or a .y16 file with its .json beside it. Relative to this file.',
    ),
    loop: z.boolean().default(false).describe('Begin again at the end, for ever.'),
    fps: fps.exactOptional().describe('Frames per second, Hz (0.1 to 1000). Default: what the recording says.'),
  })
  .describe('A recording: a folder of pictures or a .y16 file.');

const ffmpeg = z
  .strictObject({
    kind: z.literal('ffmpeg').describe('Frames through the ffmpeg program, as 8- or 16-bit grey.'),
    input: z.string().min(1).max(LONGEST).regex(/^[^-]/, 'a file, device or URL that does not begin with "-"').meta({
      description:
        'File or URL that ffmpeg can read, such as rtsp://host/stream. A relative path is relative to this file.',
      'x-path': 'path-or-url',
    }),
    transport: z
      .enum(['tcp', 'udp'])
      .default('tcp')
      .describe('How RTSP carries the pictures. tcp: none is torn by a lost packet.'),
    ffmpegPath: z
      .string()
      .min(1)
      .max(LONGEST)
      .default('ffmpeg')
      .describe('The ffmpeg program: a name on the PATH, or an absolute path.'),
    ffprobePath: z
      .string()
      .min(1)
      .max(LONGEST)
      .default('ffprobe')
      .describe('The ffprobe program: a name on the PATH, or an absolute path.'),
    startTimeoutMs: timeoutMs
      .default(10_000)
      .describe('Longest wait for the probe, and for the first frame, ms (100 to 600000).'),
    stallTimeoutMs: timeoutMs.default(10_000).describe('Longest wait for the next frame, ms (100 to 600000).'),
  })
  .describe('Any file or stream that ffmpeg reads.');

const synthetic = z
  .strictObject({
    kind: z.literal('synthetic').describe('A computed scene with known targets, for trials and benches.'),
    width: z.int().min(16).max(8192).default(320).describe('Width of a frame, px (16 to 8192).'),
    height: z.int().min(16).max(8192).default(256).describe('Height of a frame, px (16 to 8192).'),
    fps: fps.default(30).describe('Frames per second, Hz (0.1 to 1000).'),
    frames: z
      .int()
      .min(1)
      .max(1_000_000_000)
      .exactOptional()
      .describe('Number of frames (1 to 1000000000). Default: without end.'),
    seed: z
      .int()
      .min(0)
      .max(4_294_967_295)
      .default(1)
      .describe('Seed of everything random (0 to 4294967295, no unit).'),
    bits: z.int().min(8).max(16).default(14).describe('Significant bits of a count (8 to 16).'),
    snr: z
      .number()
      .min(0)
      .max(1000)
      .default(8)
      .describe('Peak contrast of a target over the standard deviation of the noise (ratio, 0 to 1000).'),
    targets: z.int().min(0).max(256).default(3).describe('Number of targets (0 to 256).'),
    noise: counts
      .exactOptional()
      .describe(
        'Standard deviation of the noise from frame to frame, counts (0 to 65535). Default: 2 at 8 bits, 8 at 14, 32 at 16.',
      ),
    fixedPattern: counts
      .exactOptional()
      .describe(
        'Standard deviation of the offsets of columns and of rows, counts (0 to 65535). Default: a quarter of the noise.',
      ),
    deadPixels: z
      .int()
      .min(0)
      .max(100_000)
      .default(0)
      .describe('Pixels stuck at zero or full scale (0 to 100000 pixels).'),
    backgroundContrast: counts
      .exactOptional()
      .describe('Standard deviation of the background, counts (0 to 65535). Default: six times the noise.'),
    baseLevel: counts
      .exactOptional()
      .describe('Mean of the background, counts (0 to 65535). Default: 40 % of full scale.'),
    targetSigma: z
      .number()
      .min(0.1)
      .max(20)
      .default(0.9)
      .describe("Standard deviation of a target's Gaussian profile, px (0.1 to 20)."),
    borders: z.enum(['bounce', 'wrap']).default('bounce').describe("What targets do at the frame's borders."),
  })
  .describe('A synthetic scene.');

const v4l2 = z
  .strictObject({
    kind: z.literal('v4l2').describe('A camera behind V4L2 (USB or CSI).'),
    device: z
      .string()
      .max(LONGEST)
      .regex(
        /^(\/[^\0]+|usb:[0-9a-fA-F]{4}:[0-9a-fA-F]{4})$/,
        'an absolute path such as /dev/video0, or usb:VENDOR:PRODUCT with four hexadecimal digits each',
      )
      .describe(
        'The camera: a path, /dev/video0 or a stable name in /dev/v4l/by-id, or usb:VENDOR:PRODUCT in hexadecimal digits, which is ' +
          'the first camera of that kind.',
      ),
    profile: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'a name of 1 to 64 characters a-z, 0-9 or "-"')
      .exactOptional()
      .describe('Camera profile (docs/cameras.md). Default: the one that fits best.'),
    fps: fps
      .exactOptional()
      .describe('Rate to ask the driver for, Hz (0.1 to 1000); it takes the nearest. Default: left as it is.'),
    stallTimeoutMs: timeoutMs
      .default(3000)
      .describe('Longest time without a good frame before it counts as stalled, ms (100 to 600000).'),
  })
  .describe('A camera behind V4L2.');

const angle = (description: string) => z.number().min(-360).max(360).describe(description);

const px = z.number().min(-65_536).max(65_536);

const intrinsics = z
  .strictObject({
    fx: z.number().min(1).max(1_000_000).describe('Focal length over the width of a pixel, px (1 to 1000000).'),
    fy: z.number().min(1).max(1_000_000).describe('Focal length over the height of a pixel, px (1 to 1000000).'),
    cx: px.describe('Column of the optical axis, px (-65536 to 65536); 0 is the centre of the leftmost pixel.'),
    cy: px.describe('Row of the optical axis, px (-65536 to 65536); 0 is the centre of the top pixel.'),
    k1: z
      .number()
      .min(-10)
      .max(10)
      .default(0)
      .describe('Radial distortion of third order, as OpenCV has it (-10 to 10, no unit).'),
    k2: z
      .number()
      .min(-10)
      .max(10)
      .default(0)
      .describe('Radial distortion of fifth order, as OpenCV has it (-10 to 10, no unit).'),
  })
  .describe('Pinhole model of the camera, from a calibration. With "mount", events carry a bearing.');

const mount = z
  .strictObject({
    yawDeg: angle('Azimuth of the optical axis, clockwise from the zero of the datum, degrees (-360 to 360).'),
    pitchDeg: z.number().min(-90).max(90).default(0).describe('Elevation of the optical axis, degrees (-90 to 90).'),
    rollDeg: angle(
      'Turn about the optical axis, clockwise seen from behind the camera, degrees (-360 to 360).',
    ).default(0),
    datum: z
      .enum(['true', 'magnetic', 'grid', 'platform'])
      .default('platform')
      .describe("What azimuth 0 is: true, magnetic or grid north, or the platform's forward direction."),
    sigmaDeg: z
      .number()
      .min(0)
      .max(90)
      .default(0)
      .describe('Standard error of the alignment, degrees (0 to 90); adds to that of each bearing.'),
  })
  .describe('Where the camera looks. With "intrinsics", events carry a bearing.');

const zoneName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
    'a name of 1 to 64 letters, digits, "-", "_" or ".", beginning with a letter or digit',
  );

const zone = z
  .strictObject({
    name: zoneName.describe('Name of the zone, unique at the camera; stands in events.'),
    kind: z
      .enum(['include', 'ignore', 'mark'])
      .describe(
        'include: events begin only inside, where there is a zone of this kind. ignore: none begins inside. ' +
          'mark: only named in events.',
      ),
    polygon: z
      .array(
        z
          .array(px.describe('Column, then row, px (-65536 to 65536).'))
          .min(2)
          .max(2)
          .describe('One corner: column and row (2 numbers).'),
      )
      .min(3)
      .max(64)
      .describe('Corners, in order round it (3 to 64); the edges belong to it.'),
  })
  .describe('A part of the picture.');

const camera = z
  .strictObject({
    id: id.describe('Name of the camera, unique here; stands in its topics <topicPrefix>/<device id>/<camera id>/...'),
    enabled: z.boolean().default(true).describe('Whether it runs.'),
    source: z.discriminatedUnion('kind', [recording, ffmpeg, synthetic, v4l2]).describe('Where the frames come from.'),
    rate: z
      .enum(['realtime', 'fast'])
      .default('realtime')
      .describe(
        "realtime: at the source's own rate; the newest frame wins and older ones are dropped and counted. " +
          'fast: every frame, as fast as it can be worked; the speeds of a recording are those of its own rate.',
      ),
    detector: z
      .strictObject({
        threshold: threshold
          .exactOptional()
          .describe(
            'Height of the heat-map peak from which this camera reports a target (0 to 1). Default: detector.threshold.',
          ),
      })
      .prefault({})
      .describe('What differs from the section "detector" for this camera.'),
    sensor: z
      .strictObject({
        watch: z
          .enum(['auto', 'on', 'off'])
          .default('auto')
          .describe(
            'Whether the sensor is watched for flat-field corrections and faults; no alert begins while its pictures cannot be ' +
              'trusted. auto: cameras with a profile are; recordings and streams are not.',
          ),
        settleSeconds: z
          .number()
          .min(0)
          .max(60)
          .exactOptional()
          .describe(
            'How long no alert begins after a flat-field correction, s (0 to 60). Default: what the profile says, else 2.',
          ),
        deadPixels: z
          .enum(['replace', 'report', 'off'])
          .default('replace')
          .describe(
            'Pixels that do not follow the scene. replace: they are reported, and take the median of their neighbours before the ' +
              'search; report: only reported; off: not looked for.',
          ),
      })
      .prefault({})
      .describe('How the sensor is watched.'),
    intrinsics: intrinsics.exactOptional(),
    mount: mount.exactOptional(),
    zones: z.array(zone).max(32).exactOptional().describe('Zones of the picture (0 to 32).'),
  })
  .describe('One camera.');

const detector = z
  .strictObject({
    model: path(
      'Manifest (.json) of the model, its .onnx files beside it. Relative to this file. Default: the model that comes with the program.',
    ).exactOptional(),
    precision: z
      .enum(['auto', 'fp32', 'fp16'])
      .default('auto')
      .describe('Number format inside the network. auto: the one that suits what it runs on.'),
    threshold: threshold
      .exactOptional()
      .describe(
        'Height of the heat-map peak from which a target is reported (0 to 1). Default: the one of the model. Above that, the scores ' +
          'that begin faint tracks rise with it: at 1 nothing is reported.',
      ),
    relativeThreshold: threshold
      .exactOptional()
      .describe(
        "Least share of a frame's strongest score that a detection of this frame needs to be reported (0 to 1; 0: any score will do). Default: " +
          'the one of the model. Tracks and events do not depend on it. With a lower threshold to see more beside a plain target, lower this as well.',
      ),
    threads: z.int().min(1).max(16).default(2).describe('Processor threads of one network run (1 to 16).'),
    blocked: z
      .boolean()
      .default(true)
      .describe(
        'Whether a CPU runs the build of the network in its own order of channels, where the model has one: faster, the same figures. false: ' +
          'the standard build.',
      ),
    backend: z
      .enum(['auto', ...BACKENDS])
      .default('auto')
      .describe(
        'Library that runs the network. auto: for a GPU libonnxruntime, where one is found, else onnxruntime-node; for the CPU ' +
          'onnxruntime-node.',
      ),
  })
  .prefault({})
  .describe('The detector.');

const provider = z.enum(PROVIDERS);

const providerOptions = (description: string) =>
  z
    .array(
      z
        .strictObject({
          name: z
            .string()
            .regex(/^[a-z][a-z0-9_]{0,63}$/, 'a name of 1 to 64 characters a-z, 0-9 or "_"')
            .describe("Name of the option, as ONNX Runtime's documentation has it."),
          value: z.string().max(1024).describe('Its value, as text.'),
        })
        .describe('One option.'),
    )
    .max(64)
    .exactOptional()
    .describe(description);

const runtime = z
  .strictObject({
    providers: z
      .array(provider.describe('An execution provider.'))
      .min(1)
      .max(3)
      .exactOptional()
      .describe(
        'Execution providers, the most wanted first (1 to 3). They are tried one by one, each proves itself on a golden frame, and the ' +
          'first that does serves. Default: tensorrt, cuda, cpu.',
      ),
    require: provider
      .exactOptional()
      .describe(
        'The only provider that may serve; without it the camera waits and tries again. Default: any of the list.',
      ),
    libonnxruntime: path(
      'A libonnxruntime.so, or the folder that it lies in. Relative to this file. Default: $ORT_LIB, else the usual places.',
    ).exactOptional(),
    cacheDirectory: path(
      'Folder for TensorRT engines. Relative to this file. Default: below $CACHE_DIRECTORY (systemd), else below ~/.cache.',
    ).exactOptional(),
    engineBuilder: z
      .enum(['auto', 'library', 'trtexec'])
      .default('auto')
      .describe(
        'What builds TensorRT engines. library: ONNX Runtime itself; trtexec: the program of TensorRT. auto: the library, where it ' +
          'takes options (libonnxruntime), else trtexec.',
      ),
    trtexec: z
      .string()
      .min(1)
      .max(LONGEST)
      .default('/usr/src/tensorrt/bin/trtexec')
      .describe('The trtexec program: an absolute path, or a name on the PATH.'),
    buildMinutes: z
      .number()
      .min(0.1)
      .max(600)
      .default(30)
      .describe('Longest time of one engine build, min (0.1 to 600).'),
    retryMinSeconds: z
      .number()
      .min(1)
      .max(86_400)
      .default(30)
      .describe('Wait before a provider that failed is tried again, s (1 to 86400); doubles with each failure.'),
    retryMaxSeconds: z.number().min(1).max(86_400).default(3600).describe('Longest such wait, s (1 to 86400).'),
    tensorrtOptions: providerOptions(
      'Options of the TensorRT provider of libonnxruntime (0 to 64), such as trt_builder_optimization_level. Another list is another engine.',
    ),
    cudaOptions: providerOptions('Options of the CUDA provider of libonnxruntime (0 to 64), such as gpu_mem_limit.'),
  })
  .prefault({})
  .describe('What the network runs on.');

const mqtt = z
  .strictObject({
    url: z
      .string()
      .max(LONGEST)
      .refine(isBrokerUrl, 'a URL mqtt://host:port or mqtts://host:port')
      .meta({
        description:
          'Broker, mqtt://host:1883 or mqtts://host:8883. Default: none, and the embedded broker runs instead.',
        pattern: '^mqtts?://',
      })
      .exactOptional(),
    username: z.string().min(1).max(1024).exactOptional().describe('User name at the broker.'),
    passwordFile: path('File whose first line is the password of the user. Relative to this file.').exactOptional(),
    clientId: z
      .string()
      .min(1)
      .max(128)
      .exactOptional()
      .describe('Client identifier, unique at the broker. Default: made from the device id.'),
    keepaliveSeconds: z
      .int()
      .min(1)
      .max(65535)
      .default(15)
      .describe(
        'Longest silence on the connection, s (1 to 65535); the broker counts the device lost after one and a half of it.',
      ),
    connectTimeoutSeconds: z
      .int()
      .min(1)
      .max(300)
      .default(10)
      .describe('How long one attempt to connect may take, s (1 to 300).'),
    ca: path(
      "Certificates (PEM) of the authority that signed the broker's, for mqtts. Relative to this file. Default: the public authorities.",
    ).exactOptional(),
    cert: path('Certificate (PEM) of this client, for mqtts; needs "key". Relative to this file.').exactOptional(),
    key: path('Private key (PEM) of this client, for mqtts; needs "cert". Relative to this file.').exactOptional(),
    protocolVersion: z.literal([5, 4]).default(5).describe('Version of the protocol: 5 is MQTT 5.0, 4 is MQTT 3.1.1.'),
    willTopic: z
      .enum(['status', 'available'])
      .default('available')
      .describe(
        'Which topic says "offline" when the device is lost; MQTT has one Last Will a connection. available: ' +
          '<topicPrefix>/<device id>/available, a plain word (online, stopped, offline) as Home Assistant likes it; the status then ' +
          'keeps what the device said last. status: the JSON status, and there is no topic "available".',
      ),
    topicAliases: z
      .boolean()
      .default(false)
      .describe("Whether a topic's name is sent once a connection, then a number: for narrow links. Needs MQTT 5."),
    maxQueued: z
      .int()
      .min(1)
      .max(100_000)
      .default(1000)
      .describe(
        'Messages that are not about events (detections, statistics) kept while the broker is away (1 to 100000 messages), and as ' +
          'many events in other forms (outputs.cbor, outputs.sapient); the oldest are dropped and counted beyond.',
      ),
  })
  .prefault({})
  .describe('The connection to the broker.');

const outbox = z
  .strictObject({
    maxEvents: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(50_000)
      .describe(
        'Most messages about events that wait (1 to 1000000 messages). Beyond, the least valuable are dropped and counted: updates, ' +
          'then the least severe events, the oldest first.',
      ),
    maxMegabytes: z
      .number()
      .min(0.1)
      .max(1024)
      .default(64)
      .describe('Most memory that they take, MB of 1000000 bytes (0.1 to 1024); the disk takes about as much.'),
    maxAgeSeconds: z
      .number()
      .min(1)
      .max(31_536_000)
      .default(604_800)
      .describe(
        'Longest that a message waits, s (1 to 31536000), also one left by an earlier run that gave it longer.',
      ),
    eventLifeSeconds: z
      .number()
      .min(1)
      .max(31_536_000)
      .default(86_400)
      .describe(
        'How long "new" and "end" are worth sending, s (1 to 31536000); then they expire, here and at the broker.',
      ),
    updateLifeSeconds: z
      .number()
      .min(1)
      .max(31_536_000)
      .default(60)
      .describe('The same for an "update", s (1 to 31536000).'),
  })
  .prefault({})
  .describe('Where events wait for the broker.');

const embeddedBroker = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .max(255)
      .default('127.0.0.1')
      .describe('Address to listen on. It asks nobody for a password: keep it on this machine.'),
    port: z.int().min(0).max(65535).default(1883).describe('TCP port to listen on (0 to 65535); 0: any free one.'),
  })
  .prefault({})
  .describe('The broker inside the program, which runs when mqtt.url is absent.');

const log = z
  .strictObject({
    level: z
      .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace'])
      .default('info')
      .describe('The least important messages to log.'),
    format: z
      .enum(['json', 'pretty'])
      .exactOptional()
      .describe('json: one object a line; pretty: for people. Default: pretty on a terminal, else json.'),
  })
  .prefault({})
  .describe('Logging.');

const security = z
  .strictObject({
    untrustedFiles: z
      .enum(['warn', 'refuse', 'ignore'])
      .default('warn')
      .describe(
        'What to do when this file, the model, the camera profiles, a password or key, or a library or program that is named by its path ' +
          'belong to another user than root and the one that runs the program, or may be written to (secrets: read) by everyone.',
      ),
    modelPublicKey: z
      .string()
      .max(LONGEST)
      .refine((text) => parsePublicKey(text) !== undefined, 'a minisign public key, a line that begins with RW')
      .exactOptional()
      .describe(
        'minisign public key. Models are then loaded only with a signature of their manifest (manifest.json.minisig) made with its ' +
          'secret key. Default: none is needed.',
      ),
  })
  .prefault({})
  .describe('Whom to believe.');

const timeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of day HH:MM');

const severity = z.enum(['info', 'warning', 'critical']);

const quietHours = z
  .strictObject({
    from: timeOfDay.describe('Beginning, HH:MM.'),
    to: timeOfDay.describe('End, HH:MM; before "from": on the next day.'),
    clock: z
      .enum(['local', 'utc'])
      .default('local')
      .describe("local: the machine's time zone, with daylight saving time."),
    action: z
      .enum(['suppress', 'lower'])
      .default('suppress')
      .describe(
        'suppress: no event begins; a target that is still there afterwards begins one then. lower: events begin as info, and ' +
          'rise afterwards. Events under way go on.',
      ),
  })
  .describe('Hours of every day in which alerts are held back. Default: none.');

const profile = z
  .strictObject({
    name: zoneName
      .refine((name) => name !== 'default', 'another name than "default", which is the configuration itself')
      .describe('Name of the profile, unique here; the command "profile" asks for it.'),
    threshold: threshold
      .exactOptional()
      .describe('Height of the heat-map peak from which a target is reported (0 to 1). Default: as configured.'),
    updateIntervalSeconds: z
      .number()
      .min(0)
      .max(3600)
      .exactOptional()
      .describe('Least time between two messages of an event, s (0 to 3600). Default: as configured.'),
    severity: severity
      .exactOptional()
      .describe('Severity of an event to which no rule applies. Default: as configured.'),
  })
  .describe('Settings that a command brings into force together, such as for night.');

const alerts = z
  .strictObject({
    updateIntervalSeconds: z
      .number()
      .min(0)
      .max(3600)
      .default(1)
      .describe(
        'Least time between two messages of an event, s (0 to 3600); 0: every frame. A rise in severity goes at once.',
      ),
    detectionsTopic: z
      .boolean()
      .default(true)
      .describe('Whether the detections of each frame are published too, beside the events.'),
    stationary: z
      .enum(['suppress', 'report'])
      .default('suppress')
      .describe(
        'What to do with targets that stand still where something has stood for long (tracker.stationarySeconds).',
      ),
    severity: z
      .strictObject({
        base: severity.default('warning').describe('Severity of an event to which no rule applies.'),
        rules: z
          .array(
            z
              .strictObject({
                severity: severity.describe('Severity of an event to which the rule applies.'),
                snr: z
                  .number()
                  .min(0)
                  .max(1_000_000)
                  .exactOptional()
                  .describe('Least contrast over the noise (ratio, 0 to 1000000).'),
                score: threshold.exactOptional().describe('Least height of the heat-map peak (0 to 1).'),
                zone: zoneName.exactOptional().describe('Name of a zone that it is in.'),
              })
              .describe('A rule. It applies when all that it names is so.'),
          )
          .max(32)
          .exactOptional()
          .describe('Rules (0 to 32). The highest severity of those that apply counts.'),
      })
      .prefault({})
      .describe('How severe an event is. It never falls within an event.'),
    quietHours: quietHours.exactOptional(),
    profiles: z
      .array(profile)
      .max(16)
      .exactOptional()
      .describe('Profiles beside "default", which is what this file says elsewhere (0 to 16).'),
    chip: z
      .strictObject({
        enabled: z
          .boolean()
          .default(false)
          .describe('Whether events carry a chip: a small PNG of the target and what is around it, counts unscaled.'),
        side: z
          .int()
          .min(8)
          .max(64)
          .default(32)
          .describe('Side of the chip, px (8 to 64): at most 2 side^2 bytes before base64, 16-bit counts given.'),
        messages: z
          .enum(['new', 'all'])
          .default('new')
          .describe('new: only the first message of an event carries it. all: updates too.'),
      })
      .prefault({})
      .describe('Pictures of targets in events.'),
    snapshot: z
      .strictObject({
        maxSide: z
          .int()
          .min(16)
          .max(640)
          .default(320)
          .describe('Longest side of a snapshot, px (16 to 640); larger frames are averaged down.'),
        bits: z
          .literal([8, 16])
          .default(8)
          .describe('Bits of a sample (8 or 16). 8: stretched for the eye. 16: counts as they are.'),
        minIntervalSeconds: z
          .number()
          .min(0.1)
          .max(3600)
          .default(1)
          .describe('Least time between two snapshots of a camera, s (0.1 to 3600); asked sooner, it is refused.'),
      })
      .prefault({})
      .describe('Pictures of the whole frame, sent when the command "snapshot" asks for one.'),
  })
  .prefault({})
  .describe('What becomes of targets: events.');

const tracker = z
  .strictObject({
    highScore: threshold
      .exactOptional()
      .describe(
        "Score from which a detection begins a track (0 to 1). Default: the detector's threshold. Where it is set, a threshold holds back " +
          'no track.',
      ),
    lowScore: threshold
      .default(0.2)
      .describe('Score from which a detection continues a track (0 to 1); no higher than highScore in force.'),
    confirmHits: z
      .int()
      .min(1)
      .max(100)
      .default(3)
      .describe('A track is confirmed with so many detections (1 to 100) ...'),
    confirmFrames: z
      .int()
      .min(1)
      .max(100)
      .default(5)
      .describe('... in its first frames, so many of them (1 to 100) ...'),
    confirmStrongHits: z
      .int()
      .min(1)
      .max(100)
      .default(2)
      .describe('... and so many of the detections at least as high as highScore, the first one counted (1 to 100).'),
    faintScore: threshold
      .default(0.3)
      .describe(
        'For faint targets that move: score from which a detection begins a track too (0 to 1), though none below lowScore does; it is ' +
          'confirmed when its log-likelihood ratio says target. 1: only detections from highScore on begin tracks. A threshold above the ' +
          "model's raises it.",
      ),
    faintFrames: z
      .int()
      .min(1)
      .max(100)
      .default(10)
      .describe('How many frames such a track has to prove itself (1 to 100).'),
    faintSearch: z
      .boolean()
      .default(true)
      .describe(
        'Whether moving points too faint for one frame are searched over many (docs/tracking.md). Pauses by itself while the camera moves.',
      ),
    maxCoastFrames: z
      .int()
      .min(0)
      .max(10_000)
      .default(15)
      .describe('A track ends after more than so many frames without a detection (0 to 10000) ...'),
    maxCoastSeconds: z.number().min(0).max(600).default(1.5).describe('... or after so long, s (0 to 600).'),
    startSpeed: z
      .number()
      .min(0.1)
      .max(100_000)
      .default(60)
      .describe('Speed per axis that a new target may well have, px/s (0.1 to 100000).'),
    processNoise: z
      .number()
      .min(0.001)
      .max(1_000_000)
      .default(50)
      .describe(
        'How much targets turn and change their speed: density of the acceleration, px^2/s^3 (0.001 to 1000000).',
      ),
    maxTracks: z.int().min(1).max(1024).default(64).describe('Largest number of tracks at a time (1 to 1024).'),
    egoMotion: z
      .boolean()
      .default(false)
      .describe('Whether the motion of the camera is measured and taken out. For cameras that move.'),
    stationarySeconds: z
      .number()
      .min(0)
      .max(86_400)
      .default(10)
      .describe('What stands still for so long is stationary, s (0 to 86400); 0: nothing is.'),
  })
  .prefault({})
  .describe('How detections become tracks.');

/** `udp://239.2.3.1:6969` or `tcp://host:8087`. */
const receiverUrl = (schemes: readonly ('udp' | 'tcp')[], description: string) =>
  z
    .string()
    .max(LONGEST)
    .refine(
      (text) => isReceiverUrl(text, schemes),
      `a URL ${schemes.map((scheme) => `${scheme}://host:port`).join(' or ')}`,
    )
    .meta({ description, pattern: `^(${schemes.join('|')})://` });

const off = (description: string) => z.boolean().default(false).describe(description);

const outputs = z
  .strictObject({
    homeAssistant: z
      .strictObject({
        enabled: off('Whether the device announces itself to Home Assistant, over the same broker (MQTT discovery).'),
        prefix: z
          .string()
          .max(128)
          .regex(
            /^[A-Za-z0-9][A-Za-z0-9_.-]*(\/[A-Za-z0-9][A-Za-z0-9_.-]*)*$/,
            'names of letters, digits, "-", "_" or "." joined by "/", such as "homeassistant"',
          )
          .default('homeassistant')
          .describe('First part of the discovery topics, as set in Home Assistant.'),
      })
      .prefault({})
      .describe('Home Assistant.'),
    cot: z
      .strictObject({
        enabled: off('Whether events are sent as Cursor-on-Target XML, for TAK and the like.'),
        url: receiverUrl(
          ['udp', 'tcp'],
          'Receiver: udp://host:port, also a multicast group, or tcp://host:port.',
        ).default('udp://239.2.3.1:6969'),
        position: z
          .strictObject({
            latitude: z.number().min(-90).max(90).describe('Latitude, WGS 84, degrees (-90 to 90), north positive.'),
            longitude: z
              .number()
              .min(-180)
              .max(180)
              .describe('Longitude, WGS 84, degrees (-180 to 180), east positive.'),
            altitude: z
              .number()
              .min(-1000)
              .max(100_000)
              .exactOptional()
              .describe('Height above the WGS 84 ellipsoid, m (-1000 to 100000). Default: unknown.'),
          })
          .exactOptional()
          .describe('Where the device stands. Without it, the position is given as unknown.'),
        draw: z
          .enum(['sensor', 'line'])
          .default('sensor')
          .describe(
            'How a bearing is drawn: sensor: a narrow field of view from the device; line: a range and bearing line.',
          ),
        trueNorthOffsetDeg: angle(
          'What to add to an azimuth to count it from true north, degrees (-360 to 360): declination, or heading of the platform. ' +
            'Default: 0 where the datum is true; otherwise no bearing is drawn.',
        ).exactOptional(),
        rangeMetres: z
          .number()
          .min(1)
          .max(100_000)
          .default(5000)
          .describe('How far a bearing is drawn, m (1 to 100000): the true range is not known.'),
        staleSeconds: z
          .number()
          .min(1)
          .max(86_400)
          .default(60)
          .describe('How long a message holds where none follows, s (1 to 86400).'),
      })
      .prefault({})
      .describe('Cursor-on-Target.'),
    sapient: z
      .strictObject({
        enabled: off(
          'Whether events with a bearing are also published as SAPIENT (BSI Flex 335) detection reports in JSON, on .../events/sapient; not kept over a restart.',
        ),
      })
      .prefault({})
      .describe('SAPIENT.'),
    cbor: z
      .strictObject({
        enabled: off(
          'Whether events are also published in CBOR, on .../events/cbor, for narrow links; not kept over a restart.',
        ),
      })
      .prefault({})
      .describe('CBOR.'),
    mavlink: z
      .strictObject({
        enabled: off('Whether the foremost target of each camera is sent as MAVLink CAMERA_TRACKING_IMAGE_STATUS.'),
        url: receiverUrl(['udp'], 'Receiver: udp://host:port.').default('udp://127.0.0.1:14550'),
        systemId: z.int().min(1).max(255).default(1).describe('System id of the vehicle (1 to 255).'),
        componentId: z
          .int()
          .min(1)
          .max(250)
          .default(100)
          .describe('Component id of the first camera (1 to 250); the next ones count on. 100 to 105 are cameras.'),
      })
      .prefault({})
      .describe('MAVLink.'),
  })
  .prefault({})
  .describe('Other forms in which events leave, beside the MQTT topics. All are off by default.');

export const configSchema = z
  .strictObject({
    version: z
      .literal(CONFIG_VERSION)
      .default(CONFIG_VERSION)
      .describe(
        'Version of the keys (1, no unit). A program that is newer reads older ones; an older one refuses newer ones.',
      ),
    device: z
      .strictObject({
        id: id.default('irst-edge').describe('Name of this device; stands in every topic.'),
      })
      .prefault({})
      .describe('This device.'),
    cameras: z.array(camera).min(1).max(4).describe('The cameras (1 to 4), one worker thread each.'),
    detector,
    runtime,
    tracker,
    alerts,
    outputs,
    mqtt,
    outbox,
    embeddedBroker,
    log,
    security,
    profilesDirectory: path(
      'Folder of your own camera profiles, one JSON file each, which take the place of those of the same name that come with the ' +
        'program. Relative to this file. Default: none.',
    ).exactOptional(),
    stateDirectory: path(
      'Folder of this program alone, in which events wait for the broker across restarts. Relative to this file. ' +
        'Default: $STATE_DIRECTORY (systemd), else none, and events wait in memory.',
    ).exactOptional(),
    runtimeDirectory: path(
      'Folder of this program alone, in which it says every second how it does, for irst-edge health. Relative to this file. ' +
        'Default: $RUNTIME_DIRECTORY (systemd), else none.',
    ).exactOptional(),
    topicPrefix: z
      .string()
      .max(128)
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9_.-]*(\/[A-Za-z0-9][A-Za-z0-9_.-]*)*$/,
        'names of letters, digits, "-", "_" or "." joined by "/", such as "irst" or "site/irst"',
      )
      .default('irst')
      .describe('First part of every topic.'),
  })
  .meta({ title: 'irst-edge configuration', description: 'The configuration file of irst-edge, YAML or JSON.' });

/** A checked configuration with every default filled in. */
export type EdgeConfig = z.output<typeof configSchema>;
export type CameraConfig = EdgeConfig['cameras'][number];
export type SourceConfig = CameraConfig['source'];
export type DetectorConfig = EdgeConfig['detector'];
export type RuntimeConfig = EdgeConfig['runtime'];
export type TrackerConfig = EdgeConfig['tracker'];
export type AlertsConfig = EdgeConfig['alerts'];
export type OutputsConfig = EdgeConfig['outputs'];
export type MqttConfig = EdgeConfig['mqtt'];
export type OutboxConfig = EdgeConfig['outbox'];
export type EmbeddedBrokerConfig = EdgeConfig['embeddedBroker'];
export type LogConfig = EdgeConfig['log'];
export type SecurityConfig = EdgeConfig['security'];
/** What a file may hold: keys with defaults may be absent. */
export type EdgeConfigInput = z.input<typeof configSchema>;

/** JSON Schema (2020-12) of the file, for editors and for docs/schemas. */
export function configJsonSchema(): object {
  return { $id: 'urn:irst-edge:schema:config', ...z.toJSONSchema(configSchema, { io: 'input' }) };
}

function isBrokerUrl(text: string): boolean {
  if (!/^mqtts?:\/\//.test(text) || !URL.canParse(text)) return false;
  const url = new URL(text);
  // What follows the host is of no use to MQTT over TCP: most likely a password with a "/", "?" or "#" that is not escaped.
  return url.hostname !== '' && url.port !== '0' && afterHost(url) === '';
}

function isReceiverUrl(text: string, schemes: readonly string[]): boolean {
  if (!schemes.some((scheme) => text.startsWith(`${scheme}://`)) || !URL.canParse(text)) return false;
  const url = new URL(text);
  const { hostname, port, username, password } = url;
  return hostname !== '' && port !== '' && port !== '0' && username + password + afterHost(url) === '';
}

/** Path, query and fragment of a URL. */
function afterHost({ pathname, search, hash }: URL): string {
  return (pathname === '/' ? '' : pathname) + search + hash;
}

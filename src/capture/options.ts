/** `realtime`: frames come when they are due and the newest wins. `fast`: as fast as the consumer takes them, every frame. */
export type SourceRate = 'realtime' | 'fast';

interface CommonOptions {
  rate: SourceRate;
}

export interface RecordingOptions extends CommonOptions {
  kind: 'recording';
  /** A folder of PNG/TIFF files, one such file, or `NAME.y16` with `NAME.json` beside it. */
  path: string;
  /** `true`: for ever; a number: so many times. Default once. */
  loop?: boolean | number;
  /** Hz; overrides what the recording says of itself. */
  fps?: number;
}

export interface FfmpegOptions extends CommonOptions {
  kind: 'ffmpeg';
  /** A file, or a URL (`rtsp://`, `udp://`, `http://` ...) that ffmpeg can read. */
  input: string;
  /** Of RTSP. Default `tcp`: no picture is torn by a lost packet. */
  transport?: 'tcp' | 'udp';
  /** Default `ffmpeg` and `ffprobe` on the PATH. */
  ffmpegPath?: string;
  ffprobePath?: string;
  /** For the probe and for the first frame, ms each. Default 10 s. */
  startTimeoutMs?: number;
  /** Longest wait for the next frame, ms; at least five frame periods. Default 10 s. */
  stallTimeoutMs?: number;
}

export interface V4l2Options extends CommonOptions {
  kind: 'v4l2';
  /** A path (`/dev/video0`, `/dev/v4l/by-id/...`), or `usb:VENDOR:PRODUCT` in hexadecimal digits: the first camera of that kind. */
  device: string;
  /** Name of a camera profile. Default: the one that fits best. */
  profile?: string;
  /** Folder of the user's own profiles. */
  profilesDirectory?: string;
  /** Hz that the driver is asked for; it takes the nearest that it can. Default: left as it is. */
  fps?: number;
  /** Longest time without a good frame before the stream counts as stalled, ms; at least five frame periods. Default 3000. */
  stallTimeoutMs?: number;
}

/** A target whose place is given. In px of the frame, pixel centres at integers; velocities in px a frame. */
export interface SyntheticTargetOptions {
  x: number;
  y: number;
  vx?: number;
  vy?: number;
  snr?: number;
  sigma?: number;
}

export interface SyntheticOptions extends CommonOptions {
  kind: 'synthetic';
  /** Default 320 x 256. */
  width?: number;
  height?: number;
  /** Hz. Default 30. */
  fps?: number;
  /** Default endless. */
  frames?: number;
  /** The same seed gives the same frames. Default 1. */
  seed?: number;
  /** 8 to 16. Default 14. */
  bits?: number;
  /** Standard deviation of the white noise, counts. Default 2 at 8 bits, 8 at 14, 32 at 16. */
  noise?: number;
  /** Standard deviation of the column offsets, and of the row offsets, counts. Default a quarter of `noise`. */
  fixedPattern?: number;
  /** Pixels stuck at zero or full scale. Default 0. */
  deadPixels?: number;
  /** Standard deviation of the background, counts. Default six times `noise`. */
  backgroundContrast?: number;
  /** Mean of the background, counts. Default 40 % of full scale. */
  baseLevel?: number;
  /** How many, at random places and velocities, or each one given. Default 3. */
  targets?: number | SyntheticTargetOptions[];
  /**
   * Contrast of the brightest pixel of a target that is centred on it, over `noise` (over one count when `noise` is 0).
   * Default 6.
   */
  snr?: number;
  /** Standard deviation of a target's Gaussian profile, px. Default 0.9. */
  targetSigma?: number;
  /** What targets do at the frame's borders. Default `bounce`. */
  borders?: 'bounce' | 'wrap';
  /** Frames before the targets appear. Default 0. */
  emptyFrames?: number;
}

/** Where a camera's frames come from: plain data, so that it can cross threads. */
export type SourceOptions = RecordingOptions | FfmpegOptions | SyntheticOptions | V4l2Options;

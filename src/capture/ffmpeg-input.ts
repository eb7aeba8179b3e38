import { SECRET_KEYS } from '../util/secret-keys.js';

const SECRET = new RegExp(`([?&]${SECRET_KEYS}=)[^&\\s]+`, 'gi');
const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;
const LIVE_SCHEMES = new Set(['rtsp', 'rtsps', 'rtp', 'srtp', 'udp', 'srt', 'tcp', 'tls', 'rtmp', 'rtmps', 'rist']);

/** How an input is named to ffmpeg and to people. */
export interface FfmpegInput {
  /** The argument of `-i`. */
  argument: string;
  /** Path of a local file; undefined for a URL. */
  path: string | undefined;
  scheme: string;
  /** A stream that comes at its own pace; http and others are judged by whether they have a duration. */
  live: boolean;
  /** For messages: without password. */
  name: string;
}

export function parseInput(input: string): FfmpegInput {
  const scheme = SCHEME.exec(input)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'file') {
    return { argument: input, path: undefined, scheme, live: LIVE_SCHEMES.has(scheme), name: redact(input, input) };
  }
  const path = scheme === 'file' ? input.slice('file://'.length) : input;
  // The prefix keeps ffmpeg from taking `a:b.mkv` or `concat:...` for a protocol.
  return { argument: `file:${path}`, path, scheme: 'file', live: false, name: path };
}

/** `text` without the password and keys that `input` holds or that any URL in it holds, on one line of at most 300 characters. */
export function redact(text: string, input: string): string {
  let out = text;
  for (const secret of secretsOf(input)) out = out.split(secret).join('***');
  return (
    out
      .replace(/([a-z][a-z0-9+.-]*:\/\/)([^/\s:@]*):[^/\s]*@/gi, '$1$2:***@')
      .replace(SECRET, '$1***')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: a file name may hold anything, a log line may not
      .replace(/[\u0000-\u001f\u007f]+/g, ' ')
      .slice(0, 300)
  );
}

/** What ffmpeg may repeat on its own, away from the URL: the password as written and decoded. */
function secretsOf(input: string): string[] {
  const scheme = SCHEME.exec(input);
  if (scheme === null) return [];
  const rest = input.slice(scheme[0].length);
  const at = rest.lastIndexOf('@');
  const colon = rest.indexOf(':');
  if (at < 0 || colon < 0 || colon > at) return [];
  const password = rest.slice(colon + 1, at);
  let decoded = password;
  try {
    decoded = decodeURIComponent(password);
  } catch {
    // Not percent-encoded; ffmpeg takes it as it is.
  }
  // One or two letters would make stars of half the message; the URL itself is masked below in any case.
  return [password, decoded].filter((secret) => secret.length >= 3);
}

/** The last line of stderr that says why: without ffmpeg's address of the component and without the input's name. */
export function reasonOf(lines: string[], input: FfmpegInput): string | undefined {
  const last = lines.at(-1);
  if (last === undefined) return undefined;
  const bare = last.replace(/ @ 0x[0-9a-f]+\]/i, ']');
  const start = `${input.argument}: `;
  return redact(bare.startsWith(start) ? bare.slice(start.length) : bare, input.argument);
}

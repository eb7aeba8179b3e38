import { SECRET_KEYS } from '../util/secret-keys.js';

const HIDDEN = '***';
const SECRET = new RegExp(`([?&]${SECRET_KEYS}=)[^&#]*`, 'gi');

/** Hides the secrets of a URL: `rtsp://user:***@host/?token=***`. Other text comes back as it is. */
export function redactUrl(text: string): string {
  return redactUserInfo(text).replaceAll(SECRET, `$1${HIDDEN}`);
}

function redactUserInfo(text: string): string {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0];
  if (scheme === undefined) return text;
  const rest = text.slice(scheme.length);
  const authority = /^[^/?#]*/.exec(rest)?.[0] ?? '';
  // A password may hold an unescaped "/", "?", "#" or "@": then what looks like the host is "user:secret", where a port would
  // be digits only, and everything up to the last "@" is taken for the password.
  const colon = rest.indexOf(':');
  const plainHost = !authority.includes('@') && /^[^:]*(:\d*)?$|^\[[^\]]*\](:\d*)?$/.test(authority);
  const at = plainHost ? -1 : rest.lastIndexOf('@');
  if (at < 0 || colon < 0 || colon > at) return text;
  return `${scheme}${rest.slice(0, colon)}:${HIDDEN}${rest.slice(at)}`;
}

/** Hides the secrets of every URL in a text. */
export function redactText(text: string): string {
  return text.replaceAll(/[a-z][a-z0-9+.-]*:\/\/[^\s"'`]+/gi, redactUrl);
}

/** A copy that may be printed: every URL in it without its secrets. */
export function redactConfig<T>(config: T): T {
  const copy = (value: unknown): unknown => {
    if (typeof value === 'string') return redactUrl(value);
    if (Array.isArray(value)) return value.map(copy);
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, copy(child)]));
    }
    return value;
  };
  return copy(config) as T;
}

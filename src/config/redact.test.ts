import { describe, expect, it } from 'vitest';
import { redactConfig, redactText, redactUrl } from './redact.js';

describe('redactUrl', () => {
  it.each([
    ['mqtt://user:secret@host:1883', 'mqtt://user:***@host:1883'],
    ['mqtts://:secret@host', 'mqtts://:***@host'],
    ['RTSP://user:se@cret@host/stream', 'RTSP://user:***@host/stream'],
    ['rtsp://user:se/cret@host/stream', 'rtsp://user:***@host/stream'],
    ['rtsp://user:se?c#ret@host/stream', 'rtsp://user:***@host/stream'],
    ['http://host/video?user=a&password=secret&x=1', 'http://host/video?user=a&password=***&x=1'],
    ['http://host/video?token=secret', 'http://host/video?token=***'],
    ['http://host/v?api_key=secret#frag', 'http://host/v?api_key=***#frag'],
    ['srt://10.0.0.9:9000?mode=caller&passphrase=secret', 'srt://10.0.0.9:9000?mode=caller&passphrase=***'],
    ['http://host/v?pw=a&auth=b&sig=c&x=1', 'http://host/v?pw=***&auth=***&sig=***&x=1'],
    ['mqtt://user@host:1883', 'mqtt://user@host:1883'],
    ['mqtt://host:1883', 'mqtt://host:1883'],
    ['rtsp://host:554/live@main', 'rtsp://host:554/live@main'],
    ['rtsp://[2001:db8::1]:554/live@main', 'rtsp://[2001:db8::1]:554/live@main'],
    ['rtsp://user:secret@[2001:db8::1]:554/', 'rtsp://user:***@[2001:db8::1]:554/'],
    ['/srv/a:b@c', '/srv/a:b@c'],
    ['', ''],
  ])('%s -> %s', (url, redacted) => {
    expect(redactUrl(url)).toBe(redacted);
  });
});

describe('redactText', () => {
  it('finds URLs among words', () => {
    expect(redactText('no "mqtt://u:p@h" here, nor rtsp://u:p@h/x and c:d@e')).toBe(
      'no "mqtt://u:***@h" here, nor rtsp://u:***@h/x and c:d@e',
    );
  });
});

describe('redactConfig', () => {
  it('redacts at any depth and leaves its input alone', () => {
    const config = { mqtt: { url: 'mqtt://u:p@h' }, list: [{ input: 'rtsp://u:p@h/', n: 1, b: false, none: null }] };
    const before = structuredClone(config);
    expect(redactConfig(config)).toEqual({
      mqtt: { url: 'mqtt://u:***@h' },
      list: [{ input: 'rtsp://u:***@h/', n: 1, b: false, none: null }],
    });
    expect(config).toEqual(before);
  });
});

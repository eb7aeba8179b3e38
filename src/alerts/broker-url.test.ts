import { describe, expect, it } from 'vitest';
import { parseBrokerUrl, redactUrl } from './broker-url.js';

describe('parseBrokerUrl', () => {
  it.each([
    ['mqtt://host', { protocol: 'mqtt', host: 'host', port: 1883, display: 'mqtt://host:1883' }],
    ['mqtts://host', { protocol: 'mqtts', port: 8883 }],
    ['mqtt://10.0.0.1:2000', { host: '10.0.0.1', port: 2000 }],
    ['mqtt://[::1]:2000', { host: '::1', port: 2000, display: 'mqtt://[::1]:2000' }],
    ['wss://host/mqtt?token=t', { protocol: 'wss', port: 443, path: '/mqtt?token=t', display: 'wss://host:443' }],
    ['mqtt://us%40er:p%3Ass@host', { username: 'us@er', password: 'p:ss', display: 'mqtt://host:1883' }],
  ])('reads %s', (url, expected) => {
    expect(parseBrokerUrl(url)).toMatchObject(expected);
  });

  it.each([
    '',
    'host',
    'host:1883',
    'http://host',
    'mqtt://',
    'mqtt://:1883',
    'mqtt://host:0',
    'mqtt://u:secret@host:99999',
  ])('refuses %j and repeats no secret', (url) => {
    expect(() => parseBrokerUrl(url)).toThrow(
      expect.objectContaining({
        code: 'BAD_BROKER_URL',
        exitCode: 78,
        hint: expect.stringContaining('mqtt://host:1883'),
        message: expect.not.stringContaining('secret'),
      }),
    );
  });
});

describe('redactUrl', () => {
  it('leaves scheme, host and port', () => {
    expect(redactUrl('mqtt://user:secret@host/?password=secret')).toBe('mqtt://host:1883');
    expect(redactUrl('secret')).toBe('(unreadable URL)');
  });
});

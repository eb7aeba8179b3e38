import { describe, expect, it } from 'vitest';
import { connectionError, disconnectError, messageRefusedError, reasonCode, refusedError } from './broker-errors.js';

const BROKER = 'mqtt://host:1883';
const withCode = (code: string | number, message = 'x') => Object.assign(new Error(message), { code });

describe('errors of the broker', () => {
  it.each([
    [withCode('ECONNREFUSED'), false, 'BROKER_UNREACHABLE', 'nothing listens there'],
    [withCode('ENOTFOUND', 'getaddrinfo ENOTFOUND user:secret'), false, 'BROKER_UNREACHABLE', 'no such host'],
    [undefined, false, 'BROKER_UNREACHABLE', 'closed at once'],
    [new Error('connack timeout'), false, 'BROKER_TIMEOUT', 'did not answer'],
    [new Error('Keepalive timeout'), true, 'BROKER_LOST', 'no longer answers pings'],
    [withCode('ECONNRESET'), true, 'BROKER_LOST', 'ECONNRESET'],
    [undefined, true, 'BROKER_LOST', 'lost'],
    [withCode('SELF_SIGNED_CERT_IN_CHAIN'), false, 'BROKER_TLS', 'SELF_SIGNED_CERT_IN_CHAIN'],
    [withCode('DEPTH_ZERO_SELF_SIGNED_CERT'), false, 'BROKER_TLS', 'DEPTH_ZERO'],
    [withCode('ERR_TLS_CERT_ALTNAME_INVALID'), false, 'BROKER_TLS', 'ALTNAME'],
    [withCode('ERR_SSL_WRONG_VERSION_NUMBER'), false, 'BROKER_TLS', 'WRONG_VERSION'],
    [withCode('EPROTO'), false, 'BROKER_TLS', 'EPROTO'],
  ])('%s (connected: %s) is %s', (error, connected, code, words) => {
    const result = connectionError(BROKER, error, connected);
    expect(result).toMatchObject({ code, exitCode: 69, message: expect.stringContaining(words) });
    expect(result.message).toContain(BROKER);
    expect(result.message).not.toMatch(/secret|\n/);
    expect(result.hint).toBeTruthy();
  });

  it('names the reason of a refusal, also an unknown one', () => {
    expect(refusedError(BROKER, 134)).toMatchObject({
      code: 'BROKER_REFUSED',
      message: expect.stringContaining('wrong user name'),
    });
    expect(refusedError(BROKER, 1).hint).toContain('protocolVersion');
    expect(refusedError(BROKER, 250).message).toContain('reason code 250');
    expect(disconnectError(BROKER, 142).message).toContain('took over');
    expect(messageRefusedError(BROKER, 'a/b', 135).message).toContain('a/b');
  });

  it('tells reason codes from system errors', () => {
    expect(reasonCode(withCode(135))).toBe(135);
    expect(reasonCode(withCode('ECONNREFUSED'))).toBeUndefined();
    expect(reasonCode(undefined)).toBeUndefined();
  });
});

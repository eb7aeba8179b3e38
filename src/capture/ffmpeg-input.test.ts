import { describe, expect, it } from 'vitest';
import { parseInput, reasonOf, redact } from './ffmpeg-input.js';

describe('parseInput', () => {
  it('takes anything without // for a file, whatever ffmpeg would make of it', () => {
    for (const path of ['clip.mp4', '/a b/c.mkv', '-y', 'a:b.mkv', 'concat:a|b', 'pipe:0']) {
      expect(parseInput(path)).toMatchObject({ argument: `file:${path}`, path, live: false, name: path });
    }
    expect(parseInput('file:///a/b.mkv')).toMatchObject({ argument: 'file:/a/b.mkv', path: '/a/b.mkv' });
  });

  it('knows what is live', () => {
    for (const url of ['rtsp://cam/1', 'RTSP://cam/1', 'udp://0.0.0.0:5000', 'srt://a:1', 'tcp://a:1']) {
      expect(parseInput(url)).toMatchObject({ argument: url, path: undefined, live: true });
    }
    expect(parseInput('http://host/clip.mp4')).toMatchObject({ path: undefined, live: false });
  });

  it('has a name without the password', () => {
    expect(parseInput('rtsp://admin:hunter2@cam:554/ch1?x=1').name).toBe('rtsp://admin:***@cam:554/ch1?x=1');
    expect(parseInput('rtsp://cam:554/ch1').name).toBe('rtsp://cam:554/ch1');
  });
});

describe('redact', () => {
  it.each([
    ['rtsp://u:p4ss@h/1', 'rtsp://u:p4ss@h/1: Connection refused'],
    ['rtsp://u:p@ss@h/1', 'rtsp://u:p@ss@h/1 failed'],
    ['rtsp://u:p4ss@h/1', 'user u with password p4ss was refused'],
    ['rtsp://u:p%40ss@h/1', 'authentication with p@ss failed'],
    ['rtsp://u:pa/ss@h/1', 'cannot resolve u:pa/ss@h'],
    ['rtsp://u:p4ss@h/1', 'redirected to http://other:s3cret@elsewhere/x'],
    ['http://h/v?token=p4ss&x=1', 'GET http://h/v?token=p4ss&x=1 gave 403'],
    ['http://h/v?user=u&password=p4ss', 'http://h/v?user=u&password=p4ss: 403'],
    ['srt://h:1?passphrase=p4ssp4ssp4ss', 'srt://h:1?passphrase=p4ssp4ssp4ss: refused'],
    ['rtsp://u:%zz9@h/1', 'bad %zz9 in u:%zz9@h'],
  ])('keeps the secret of %s out of "%s"', (input, text) => {
    const clean = redact(text, input);
    expect(clean).toContain('***');
    for (const secret of ['p4ss', 'p@ss', 'p%40ss', 'pa/ss', 's3cret', '%zz9']) expect(clean).not.toContain(secret);
  });

  it('leaves other text alone, but on one line and not for ever', () => {
    expect(redact('clip.mp4: Invalid data', 'clip.mp4')).toBe('clip.mp4: Invalid data');
    expect(redact('a\nb\u001b[31mc', 'x')).toBe('a b [31mc');
    expect(redact('x'.repeat(5000), 'x').length).toBe(300);
  });
});

describe('reasonOf', () => {
  const input = parseInput('/tmp/a.mkv');

  it("gives ffmpeg's last line, without the name and addresses", () => {
    expect(reasonOf(['first', 'file:/tmp/a.mkv: Invalid data found when processing input'], input)).toBe(
      'Invalid data found when processing input',
    );
    expect(reasonOf(['[mov,mp4 @ 0x55d0c0ffee] moov atom not found'], input)).toBe('[mov,mp4] moov atom not found');
    expect(reasonOf([], input)).toBeUndefined();
  });
});

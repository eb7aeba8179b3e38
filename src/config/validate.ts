import type { z } from 'zod';
import type { ConfigIssue } from './issue.js';
import { redactUrl } from './redact.js';
import { configSchema, type EdgeConfig } from './schema.js';
import { nearest } from './suggest.js';
import { childOf, expectation, formatPath, isMapping, keysAt, nodesAt, type Path, valueAt } from './tree.js';

/** An issue with its path in parts, for finding the line or the variable that it came from. */
export interface RawIssue extends ConfigIssue {
  parts: Path;
}

/** Checks a raw configuration: every error in one go, in the order of the paths, or the configuration with its defaults. */
export function validate(raw: unknown): { config: EdgeConfig } | { issues: RawIssue[] } {
  const value = raw ?? {};
  const parsed = configSchema.safeParse(value);
  const issues = [
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => translate(issue, value))),
    ...crossChecks(value),
  ];
  if (parsed.success && issues.length === 0) return { config: parsed.data };
  // One error for one place: a text that fails two rules is one mistake.
  const byPath = new Map<string, RawIssue>();
  for (const issue of issues) if (!byPath.has(issue.path)) byPath.set(issue.path, issue);
  return { issues: [...byPath.values()] };
}

function issueAt(parts: Path, message: string): RawIssue {
  return { parts, path: formatPath(parts), message };
}

function translate(issue: z.core.$ZodIssue, raw: unknown): RawIssue[] {
  const path = issue.path as Path;
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(path, raw);
    return issue.keys.map((key) => {
      const near = nearest(key, known);
      return issueAt(
        [...path, key],
        `unknown key; ${near === undefined ? `known here: ${known.join(', ')}` : `did you mean ${near}?`}`,
      );
    });
  }
  const nodes = nodesAt(path, raw);
  const value = valueAt(raw, path);
  const ownWords = issue.code === 'invalid_format' || issue.code === 'custom';
  const expected = ownWords && value !== '' ? issue.message : expectation(nodes);
  const options = nodes.flatMap((node) => node.enum ?? (node.const === undefined ? [] : [node.const]));
  const near =
    typeof value === 'string'
      ? nearest(
          value,
          options.filter((o) => typeof o === 'string'),
        )
      : undefined;
  return [
    issueAt(path, `expected ${expected}, got ${show(value)}${near === undefined ? '' : `; did you mean ${near}?`}`),
  ];
}

/** A value for an error message: short, without passwords. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (isMapping(value)) return 'a mapping';
  if (typeof value !== 'string') return String(value);
  const text = redactUrl(hidePassword(value));
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}

/** `user:***@host`: what is no URL yet, by a typing error, may hold a password all the same. */
function hidePassword(text: string): string {
  const scheme = /^\s*(?:[a-z][a-z0-9+.-]*:\/+)?/i.exec(text)?.[0].length ?? 0;
  const colon = text.indexOf(':', scheme);
  const at = text.lastIndexOf('@');
  return colon < 0 || at < colon ? text : `${text.slice(0, colon)}:***${text.slice(at)}`;
}

/**
 * Rules between keys. They look at the raw values, because zod runs a refinement only when everything below it is right, and
 * then the errors would not come in one go.
 */
function crossChecks(raw: unknown): RawIssue[] {
  const issues: RawIssue[] = [];

  const cameras = childOf(raw, 'cameras');
  const firstWith = new Map<string, number>();
  for (const [i, camera] of (Array.isArray(cameras) ? cameras : []).entries()) {
    const id = childOf(camera, 'id');
    if (typeof id !== 'string') continue;
    const first = firstWith.get(id);
    if (first === undefined) firstWith.set(id, i);
    else issues.push(issueAt(['cameras', i, 'id'], `expected a name of its own, got ${show(id)} as cameras[${first}]`));
  }

  for (const [i, camera] of listOf(cameras).entries()) {
    const zones = listOf(childOf(camera, 'zones')).map((zone) => childOf(zone, 'name'));
    for (const [j, name] of zones.entries()) {
      const first = zones.indexOf(name);
      if (typeof name !== 'string' || first === j) continue;
      issues.push(
        issueAt(['cameras', i, 'zones', j, 'name'], `expected a name of its own, got ${show(name)} as zones[${first}]`),
      );
    }
    const mounted = childOf(camera, 'mount') !== undefined;
    if (mounted !== (childOf(camera, 'intrinsics') !== undefined)) {
      const [there, missing] = mounted ? ['mount', 'intrinsics'] : ['intrinsics', 'mount'];
      issues.push(issueAt(['cameras', i, missing], `expected a mapping beside ${there}, got nothing`));
    }
  }

  const zoneNames = new Set(
    listOf(cameras).flatMap((camera) => listOf(childOf(camera, 'zones')).map((zone) => childOf(zone, 'name'))),
  );
  const rules = childOf(childOf(childOf(raw, 'alerts'), 'severity'), 'rules');
  for (const [i, rule] of listOf(rules).entries()) {
    const zone = childOf(rule, 'zone');
    if (typeof zone !== 'string' || zoneNames.has(zone)) continue;
    const known = [...zoneNames].filter((name) => typeof name === 'string');
    const near = nearest(zone, known);
    issues.push(
      issueAt(
        ['alerts', 'severity', 'rules', i, 'zone'],
        `expected the name of a zone of a camera, got ${show(zone)}${near === undefined ? '' : `; did you mean ${near}?`}`,
      ),
    );
  }
  const profiles = listOf(childOf(childOf(raw, 'alerts'), 'profiles')).map((profile) => childOf(profile, 'name'));
  for (const [i, name] of profiles.entries()) {
    const first = profiles.indexOf(name);
    if (typeof name !== 'string' || first === i) continue;
    issues.push(
      issueAt(['alerts', 'profiles', i, 'name'], `expected a name of its own, got ${show(name)} as profiles[${first}]`),
    );
  }
  const quiet = childOf(childOf(raw, 'alerts'), 'quietHours');
  const from = childOf(quiet, 'from');
  if (from !== undefined && from === childOf(quiet, 'to')) {
    issues.push(issueAt(['alerts', 'quietHours', 'to'], `expected a time other than "from", got ${show(from)}`));
  }
  const tracker = childOf(raw, 'tracker');
  const hits = childOf(tracker, 'confirmHits') ?? nodesAt(['tracker', 'confirmHits'], raw)[0]?.default;
  const within = childOf(tracker, 'confirmFrames') ?? nodesAt(['tracker', 'confirmFrames'], raw)[0]?.default;
  if (typeof hits === 'number' && typeof within === 'number' && hits > within) {
    issues.push(issueAt(['tracker', 'confirmHits'], `expected no more than confirmFrames (${within}), got ${hits}`));
  }
  const strong = childOf(tracker, 'confirmStrongHits') ?? nodesAt(['tracker', 'confirmStrongHits'], raw)[0]?.default;
  if (typeof strong === 'number' && typeof hits === 'number' && strong > hits) {
    issues.push(
      issueAt(['tracker', 'confirmStrongHits'], `expected no more than confirmHits (${hits}), got ${strong}`),
    );
  }

  const mqtt = childOf(raw, 'mqtt');
  const has = (key: string): boolean => childOf(mqtt, key) !== undefined;
  if (has('cert') && !has('key'))
    issues.push(issueAt(['mqtt', 'key'], 'expected a path beside mqtt.cert, got nothing'));
  if (has('key') && !has('cert'))
    issues.push(issueAt(['mqtt', 'cert'], 'expected a path beside mqtt.key, got nothing'));
  const url = childOf(mqtt, 'url');
  const parsed = typeof url === 'string' && URL.canParse(url) ? new URL(url) : undefined;
  // A password alone cannot be sent: see `brokerPassword`.
  if (!has('username') && (parsed === undefined || parsed.username === '')) {
    const password = has('passwordFile') ? 'mqtt.passwordFile' : parsed?.password ? 'the password in mqtt.url' : '';
    if (password !== '') issues.push(issueAt(['mqtt', 'username'], `expected a text beside ${password}, got nothing`));
  }
  const tls = ['ca', 'cert', 'key'].find(has);
  if (tls !== undefined && typeof url === 'string' && url.startsWith('mqtt://')) {
    issues.push(issueAt(['mqtt', 'url'], `expected mqtts:// because mqtt.${tls} is set, got ${show(url)}`));
  }
  return issues;
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** What is allowed but likely not meant; `raw` tells what was written from what is a default. */
export function adviceOn(config: EdgeConfig, raw: unknown): string[] {
  const advice: string[] = [];
  const { mqtt, embeddedBroker, tracker } = config;
  if (!config.cameras.some((camera) => camera.enabled)) advice.push('cameras: none is enabled');
  // Advice and no error: files that have it worked so far. The default is meant to give way to a higher low score.
  const low = lowestLowScore(config);
  if (childOf(childOf(raw, 'tracker'), 'faintScore') !== undefined && tracker.faintScore < low) {
    advice.push(
      `tracker.faintScore: ${tracker.faintScore} works as ${low}, because nothing below tracker.lowScore begins a track`,
    );
  }
  if (mqtt.url === undefined) {
    const rawMqtt = childOf(raw, 'mqtt');
    const idle = (['username', 'passwordFile', 'clientId', 'ca', 'cert', 'key'] as const).filter(
      (key) => childOf(rawMqtt, key) !== undefined,
    );
    if (idle.length > 0) {
      advice.push(`${idle.map((key) => `mqtt.${key}`).join(', ')}: without effect, because mqtt.url is absent`);
    }
    if (!isLoopback(embeddedBroker.host)) {
      advice.push(
        `embeddedBroker.host: ${embeddedBroker.host} lets everyone on the network connect without a password`,
      );
    }
  } else {
    if (childOf(raw, 'embeddedBroker') !== undefined) {
      advice.push('embeddedBroker: without effect, because mqtt.url is set');
    }
    const url = new URL(mqtt.url);
    if (url.password !== '') advice.push('mqtt.url: holds a password; mqtt.passwordFile keeps it out of this file');
    const named = mqtt.username !== undefined || url.username !== '';
    if (named && url.protocol === 'mqtt:' && !isLoopback(url.hostname)) {
      advice.push('mqtt.url: user name and password go unencrypted; mqtts:// encrypts them');
    }
  }
  return advice;
}

/** The low score is no higher than what begins tracks: `highScore`, in whose absence the threshold of a camera or profile. */
function lowestLowScore({ alerts, cameras, detector, tracker }: EdgeConfig): number {
  const thresholds = [detector, ...cameras.map((camera) => camera.detector), ...(alerts.profiles ?? [])];
  const high = tracker.highScore === undefined ? thresholds.map(({ threshold }) => threshold) : [tracker.highScore];
  return Math.min(tracker.lowScore, ...high.filter((score) => score !== undefined));
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

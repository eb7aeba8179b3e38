// The program in the guest: `irst-edge run` and what it says over MQTT and in its log.

import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Background, Subscriber, until, writeConfig } from './suite.mjs';

export const PROJECT = '/payload/irst-edge';
export const NODE = '/payload/bin/node';
export const mqtt = createRequire(`${PROJECT}/package.json`)('mqtt');

let port = 1900;

/** A running `irst-edge run` on a camera, with the embedded broker and a subscriber. */
export class Daemon {
  /** @param options arguments of `run`, or a configuration */
  static async start({ name, device, source = {}, camera = {}, more = {} }) {
    const it = new Daemon();
    mkdirSync('/run/vm-test', { recursive: true });
    it.url = `mqtt://127.0.0.1:${++port}`;
    const file = `/run/vm-test/${name}.json`;
    writeConfig(file, {
      device: { id: name },
      profilesDirectory: '/payload/test/profiles',
      embeddedBroker: { port },
      cameras: [{ id: 'cam0', source: { kind: 'v4l2', device, ...source }, ...camera }],
      ...more,
    });
    it.process = new Background(NODE, [`${PROJECT}/dist/cli.js`, 'run', '--config', file]);
    await it.listen().catch(async (error) => {
      // It must not stand in the way of what follows.
      await it.process.stop('SIGKILL');
      throw error;
    });
    return it;
  }

  static async startWith(...args) {
    const it = new Daemon();
    it.url = 'mqtt://127.0.0.1:1883';
    it.process = new Background(NODE, [`${PROJECT}/dist/cli.js`, 'run', ...args]);
    await it.listen();
    return it;
  }

  async listen() {
    await until('the broker of irst-edge', 180, () => {
      if (!this.process.running) throw new Error(`irst-edge ended: ${this.process.output}`);
      return /embedded broker listens/.test(this.process.output);
    }).catch((error) => {
      throw new Error(`${error.message}; it said: ${this.process.output.slice(-2000)}`);
    });
    this.mqtt = await Subscriber.connect(mqtt, this.url);
  }

  get log() {
    return this.process.output;
  }

  /** Steps of the device so far: `['opening', 'streaming', ...]` is what came over MQTT, with reasons and codes. */
  get steps() {
    const seen = new Map();
    for (const { topic, value } of this.mqtt.messages) {
      if (!topic.endsWith('/cam0/state') || value.capture === undefined) continue;
      const { state, since, code, reason } = value.capture;
      seen.set(`${since} ${state} ${reason}`, { state, code, reason });
    }
    return [...seen.values()];
  }

  /** Waits for a step behind the first `after` ones. */
  step(fits, seconds = 60, after = 0) {
    return until(`step ${fits}`, seconds, () => this.steps.slice(after).find(fits)).catch((error) => {
      throw new Error(`${error.message}; steps: ${JSON.stringify(this.steps)}; log: ${this.log.slice(-3000)}`);
    });
  }

  streaming(seconds = 90, after = 0) {
    return this.step(({ state }) => state === 'streaming', seconds, after);
  }

  /** The frame counters of the status message: fresh ones, published after this call. */
  async frames(seconds = 30) {
    const from = this.mqtt.messages.length;
    const { value } = await this.mqtt.wait('/status', seconds, () => true, from);
    return value.cameras[0].frames;
  }

  /** Frame counters, once they fulfil what is asked of them. */
  async framesWhen(what, fits, seconds = 60) {
    let last;
    try {
      return await until(what, seconds, async () => {
        last = await this.frames();
        return fits(last) ? last : undefined;
      });
    } catch (error) {
      throw new Error(`${error.message}; last: ${JSON.stringify(last)}; log: ${this.log.slice(-2000)}`);
    }
  }

  /** Ends it and gives the last frame counters, which must add up. */
  async stop() {
    await this.mqtt.end();
    const outcome = await this.process.stop();
    const stopped = this.log
      .split('\n')
      .filter((line) => line.includes('"stopped"') || line.includes(' stopped'))
      .at(-1);
    return { outcome, frames: stopped?.startsWith('{') ? JSON.parse(stopped).frames?.[0] : undefined };
  }
}

/** captured = processed + all dropped, with what is under way: at most two. */
export function accounted({ captured, processed, dropped }, underWay = 0) {
  const lost = Object.values(dropped).reduce((a, b) => a + b, 0);
  const open = captured - processed - lost;
  if (open < 0 || open > underWay) {
    throw new Error(`captured ${captured} is not processed ${processed} and dropped ${JSON.stringify(dropped)}`);
  }
  return { captured, processed, dropped };
}

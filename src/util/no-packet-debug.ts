/**
 * `DEBUG` in the environment (https://github.com/debug-js/debug) makes mqtt-packet print each string that it writes, the password among
 * them. Leaves it out of what is asked for. To be called before anything of MQTT is loaded.
 */
export function forbidPacketDebug(env: NodeJS.ProcessEnv = process.env): void {
  if (env.DEBUG) env.DEBUG += ',-mqtt-packet:*';
}

import { type BoardFiles, readLine, readNumber } from './files.js';

/** A zone of the kernel's thermal framework. Temperatures in °C. https://docs.kernel.org/driver-api/thermal/sysfs-api.html */
export interface ThermalZone {
  /** `tj-thermal`, `CPU-therm`. */
  name: string;
  /** Undefined while the sensor is off: a Jetson's GPU that is idle has none. */
  celsius?: number;
  /** From here the kernel slows the machine down: the lowest passive trip point. */
  throttleAt?: number;
  /** Here it switches the machine off: the lowest critical trip point. */
  shutdownAt?: number;
}

const ROOT = '/sys/class/thermal';
const MOST_TRIPS = 16;
/** A zone without a sensor reads absolute zero or so (-256 °C on Jetsons). */
const COLDEST = -100;
/** Zones whose value is made up: `PMIC-Die` of a Jetson always reads 50 or 100 °C. */
const FICTIONAL = /^PMIC-Die$/;

export async function readThermalZones(files: BoardFiles): Promise<ThermalZone[]> {
  const folders = (await files.list(ROOT)).filter((name) => /^thermal_zone\d+$/.test(name));
  const zones = await Promise.all(folders.map((name) => readZone(files, `${ROOT}/${name}`)));
  return zones.filter((zone) => zone !== undefined);
}

async function readZone(files: BoardFiles, folder: string): Promise<ThermalZone | undefined> {
  const name = await readLine(files, `${folder}/type`);
  if (name === undefined || FICTIONAL.test(name)) return undefined;
  const celsius = milli(await readNumber(files, `${folder}/temp`));
  const trips: { kind: string; celsius: number }[] = [];
  for (let i = 0; i < MOST_TRIPS; i++) {
    const kind = await readLine(files, `${folder}/trip_point_${i}_type`);
    if (kind === undefined) break;
    const at = milli(await readNumber(files, `${folder}/trip_point_${i}_temp`));
    if (at !== undefined && at > 0) trips.push({ kind, celsius: at });
  }
  const lowest = (kind: string) => {
    const all = trips.filter((trip) => trip.kind === kind).map((trip) => trip.celsius);
    return all.length === 0 ? undefined : Math.min(...all);
  };
  const throttleAt = lowest('passive');
  const shutdownAt = lowest('critical');
  return {
    name,
    ...(celsius !== undefined && celsius > COLDEST && { celsius }),
    ...(throttleAt !== undefined && { throttleAt }),
    ...(shutdownAt !== undefined && { shutdownAt }),
  };
}

function milli(value: number | undefined): number | undefined {
  return value === undefined ? undefined : value / 1000;
}

/** Alarms of a Jetson's own throttling that are on: names of cooling devices, such as `gpu-throttle-alert`. */
export async function readThrottleAlerts(files: BoardFiles): Promise<string[]> {
  const alerts: string[] = [];
  for (const name of await files.list(ROOT)) {
    if (!/^cooling_device\d+$/.test(name)) continue;
    const kind = await readLine(files, `${ROOT}/${name}/type`);
    if (kind === undefined || !/throttle-alert$/.test(kind)) continue;
    if (((await readNumber(files, `${ROOT}/${name}/cur_state`)) ?? 0) > 0) alerts.push(kind);
  }
  return alerts;
}

/** The hottest zone that has a value. */
export function hottest(zones: readonly ThermalZone[]): (ThermalZone & { celsius: number }) | undefined {
  let best: (ThermalZone & { celsius: number }) | undefined;
  for (const zone of zones) {
    if (zone.celsius === undefined) continue;
    // `tj` is the maximum of the others by its meaning: prefer it where it is as hot.
    if (best === undefined || zone.celsius > best.celsius || (zone.celsius === best.celsius && /^tj/i.test(zone.name)))
      best = { ...zone, celsius: zone.celsius };
  }
  return best;
}

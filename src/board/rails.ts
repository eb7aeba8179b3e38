import { type BoardFiles, readLine, readNumber } from './files.js';

/** A supply line of the board that is measured. */
export interface Rail {
  /** `VDD_IN`, `VDD_GPU_SOC`. */
  name: string;
  watts: number;
  volts?: number;
  amperes?: number;
}

const HWMON = '/sys/class/hwmon';

/**
 * The rails that a Jetson's power monitors report: INA3221 chips (three channels: `inN_label`, `inN_input` in mV, `currN_input` in
 * mA; channels 4 to 7 are sums and shunt voltages, no rails) and, on Thor, an INA238 with the board's whole input (`power1_input`
 * in µW). https://docs.kernel.org/hwmon/ina3221.html, https://docs.kernel.org/hwmon/ina238.html
 */
export async function readRails(files: BoardFiles): Promise<Rail[]> {
  const rails: Rail[] = [];
  for (const chip of await files.list(HWMON)) {
    const folder = `${HWMON}/${chip}`;
    const name = await readLine(files, `${folder}/name`);
    if (name === 'ina3221') rails.push(...(await readIna3221(files, folder)));
    else if (name === 'ina238' || name === 'ina237') {
      const microwatts = await readNumber(files, `${folder}/power1_input`);
      if (microwatts !== undefined) rails.push({ name: 'VIN', watts: microwatts / 1e6 });
    }
  }
  return rails;
}

async function readIna3221(files: BoardFiles, folder: string): Promise<Rail[]> {
  const rails: Rail[] = [];
  for (const channel of [1, 2, 3]) {
    const name = await readLine(files, `${folder}/in${channel}_label`);
    const millivolts = await readNumber(files, `${folder}/in${channel}_input`);
    const milliamperes = await readNumber(files, `${folder}/curr${channel}_input`);
    // A channel that is not wired has no label, or NVIDIA's "NC".
    if (name === undefined || name === 'NC' || millivolts === undefined || milliamperes === undefined) continue;
    rails.push({
      name,
      watts: (millivolts * milliamperes) / 1e6,
      volts: millivolts / 1000,
      amperes: milliamperes / 1000,
    });
  }
  return rails;
}

/** What the board takes. */
export interface BoardPower {
  watts: number;
  /** The rails that were added up. */
  rails: string[];
  /** `input`: measured at the input, everything included. `module`: the module's rails; the carrier board's own use is not in it. */
  scope: 'input' | 'module';
}

const INPUT = /^(VDD_IN|VIN|POM_5V_IN)$/;
// The memory's rail of an AGX Orin hangs behind VIN_SYS_5V0, where it is counted already; tegrastats leaves it out too.
const COUNTED_ELSEWHERE = /^VDDQ_VDD2_1V8AO$/;

/** The total of `readRails`, without counting anything twice; undefined where nothing is measured. */
export function totalPower(rails: readonly Rail[]): BoardPower | undefined {
  const input = rails.find((rail) => INPUT.test(rail.name));
  if (input !== undefined) return { watts: input.watts, rails: [input.name], scope: 'input' };
  const counted = rails.filter((rail) => !COUNTED_ELSEWHERE.test(rail.name));
  if (counted.length === 0) return undefined;
  const watts = counted.reduce((sum, rail) => sum + rail.watts, 0);
  return { watts, rails: counted.map((rail) => rail.name), scope: 'module' };
}

import type { ClockState } from '../../alerts/schema.js';
import { ClockWatch } from '../../service/clock.js';
import { EARLIEST_MS } from '../../util/earliest.js';
import { error, type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'clock';

const FIX = 'install and start a time service: sudo apt-get install systemd-timesyncd (or chrony), then timedatectl';

/** Whether event times can be trusted. */
export async function checkClock(nowMs = Date.now(), state?: ClockState): Promise<Finding[]> {
  const at = new Date(nowMs).toISOString();
  const { synchronised } = state ?? (await look());
  if (nowMs < EARLIEST_MS) {
    return [
      error(
        CHECK,
        'CLOCK_WRONG',
        `the clock says ${at}: it was never set; TLS fails and events carry wrong times`,
        FIX,
      ),
    ];
  }
  if (synchronised === true) return [ok(CHECK, 'CLOCK', `the clock is synchronised (${at})`, { at })];
  if (synchronised === false) {
    return [
      warning(CHECK, 'CLOCK_UNSYNCHRONISED', `systemd-timesyncd runs but has not reached a time server (${at})`, FIX, {
        at,
      }),
    ];
  }
  return [
    info(CHECK, 'CLOCK_UNKNOWN', `neither systemd-timesyncd nor chrony is seen to keep the clock (${at})`, { at }, FIX),
  ];
}

async function look(): Promise<ClockState> {
  const watch = new ClockWatch();
  await watch.start();
  watch.stop();
  return watch.state;
}

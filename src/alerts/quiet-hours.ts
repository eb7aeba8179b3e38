export interface QuietHours {
  /** `HH:MM`; from is in it, to is not. Over midnight where to is before from. */
  from: string;
  to: string;
  /** `local`: the clock of the process, with daylight saving time (TZ). */
  clock: 'local' | 'utc';
}

/** Whether the wall-clock time, ms since 1970, is in the quiet hours. Where from and to are equal, none is. */
export function isQuiet(hours: QuietHours, atMs: number): boolean {
  const at = new Date(atMs);
  const minute =
    hours.clock === 'utc' ? at.getUTCHours() * 60 + at.getUTCMinutes() : at.getHours() * 60 + at.getMinutes();
  const from = minuteOfDay(hours.from);
  const to = minuteOfDay(hours.to);
  return from <= to ? minute >= from && minute < to : minute >= from || minute < to;
}

function minuteOfDay(text: string): number {
  const [hours = Number.NaN, minutes = Number.NaN] = text.split(':').map(Number);
  return hours * 60 + minutes;
}

/** A place in the camera's own pixels: centres at integers, x right, y down, 0-based. */
export type Point = readonly [x: number, y: number];

export interface Zone {
  name: string;
  /**
   * - `include`: events open only inside a zone of this kind, where there is one.
   * - `ignore`: none opens inside; goes before `include`.
   * - `mark`: only named in the event, for rules and subscribers.
   */
  kind: 'include' | 'ignore' | 'mark';
  /** At least three corners; the last one joins the first. May be concave; where it crosses itself, the even-odd rule holds. */
  polygon: readonly Point[];
}

/** Whether (x, y) is inside, or on an edge or corner. */
export function inPolygon(polygon: readonly Point[], x: number, y: number): boolean {
  let inside = false;
  let [ax, ay] = polygon.at(-1) ?? [Number.NaN, Number.NaN];
  for (const [bx, by] of polygon) {
    const cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax);
    const within = x >= Math.min(ax, bx) && x <= Math.max(ax, bx) && y >= Math.min(ay, by) && y <= Math.max(ay, by);
    if (cross === 0 && within) return true;
    // Half-open in y, so that a ray through a corner counts it once.
    if (ay > y !== by > y && (by > ay ? cross > 0 : cross < 0)) inside = !inside;
    ax = bx;
    ay = by;
  }
  return inside;
}

/** The zones that hold (x, y), in their order. */
export function zonesAt(zones: readonly Zone[], x: number, y: number): Zone[] {
  return zones.filter((zone) => inPolygon(zone.polygon, x, y));
}

/** Whether an event may open where exactly the zones `here`, out of `zones`, are. */
export function mayOpen(zones: readonly Zone[], here: readonly Zone[]): boolean {
  if (here.some((zone) => zone.kind === 'ignore')) return false;
  return here.some((zone) => zone.kind === 'include') || !zones.some((zone) => zone.kind === 'include');
}

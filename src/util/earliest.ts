/**
 * Before the first release of this program no clock can truly stand, ms since 1970: one that says less was never set. A board without a
 * battery starts in 1970, or when its system was built.
 */
export const EARLIEST_MS = Date.UTC(2026, 0, 1);

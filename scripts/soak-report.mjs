// Figures, checks and plots of scripts/soak.mjs. Pure.

const MiB = 1024;
/** After a start: caches, JIT and pools fill. */
const WARM_UP_MS = 60_000;

const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, q) => sorted(values)[Math.max(0, Math.ceil(q * values.length) - 1)];
const median = (values) => quantile(values, 0.5);
const sum = (counts) => Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
const round = (value, digits = 1) => (value === undefined ? undefined : Number(value.toFixed(digits)));

/** Least-squares slope of `value` over `at` (ms), a unit an hour. */
export function slopePerHour(points, value) {
  const n = points.length;
  if (n < 2) return 0;
  const mx = points.reduce((a, p) => a + p.at, 0) / n;
  const my = points.reduce((a, p) => a + value(p), 0) / n;
  let xy = 0;
  let xx = 0;
  for (const p of points) {
    xy += (p.at - mx) * (value(p) - my);
    xx += (p.at - mx) ** 2;
  }
  return xx === 0 ? 0 : (xy / xx) * 3_600_000;
}

/** What does not add up in one message of figures. */
export function imbalances(message) {
  const wrong = [];
  for (const { camera, frames, tracks } of message.cameras) {
    if (frames !== undefined) {
      // One may be under way.
      const missing = frames.captured - frames.processed - sum(frames.dropped);
      if (missing < 0 || missing > 1) wrong.push(`${camera}: ${missing} frames without a fate`);
    }
    if (tracks !== undefined) {
      const tracked = tracks.confirmed - tracks.reported - sum(tracks.held) - sum(tracks.suppressed);
      if (tracked !== 0) wrong.push(`${camera}: ${tracked} tracks without a fate`);
      if (tracks.opened !== tracks.closed + tracks.open)
        wrong.push(`${camera}: events opened, closed and open disagree`);
    }
  }
  const { alerts, outbox } = message;
  if (alerts !== undefined) {
    const missing = alerts.accepted - alerts.published - sum(alerts.dropped) - alerts.queued - alerts.inFlight;
    if (missing !== 0) wrong.push(`${missing} messages without a fate`);
  }
  if (outbox !== undefined) {
    const came = sum(outbox.accepted) + outbox.recovered;
    const went = sum(outbox.published) + outbox.coalesced + sum(outbox.dropped) + outbox.waiting + outbox.inFlight;
    if (came !== went) wrong.push(`${came - went} messages about events without a fate`);
  }
  return wrong;
}

/** So many `new`, at most, the outbox gave up: `dropped` counts updates and ends too, and each would excuse a lost event. */
export function newsDropped(outbox) {
  if (outbox === undefined) return 0;
  // The other copy of a duplicate has arrived, and after its end only an update can come.
  const { duplicate, after_end, ...lost } = outbox.dropped;
  return Math.min(sum(lost), outbox.accepted.new + outbox.recovered - outbox.published.new);
}

/** All of a run, judged. */
export function judge(run) {
  const { samples, stats, latencies, events, lives, faults } = run;
  const checks = [];
  const check = (name, ok, figure) => checks.push({ name, ok, figure });
  check('the daemon ran throughout', run.failure === undefined, run.failure ?? `${run.minutes.toFixed(1)} minutes`);

  const wrong = stats.flatMap(({ message }) => imbalances(message));
  check(
    'every frame, track and message has a fate',
    stats.length > 0 && wrong.length === 0,
    wrong[0] ?? `in each of ${stats.length} messages of figures`,
  );

  const last = lives.map(({ number }) => stats.filter(({ life }) => life === number).at(-1)?.message).filter(Boolean);
  const opened = last.reduce((a, m) => a + m.cameras.reduce((b, c) => b + (c.tracks?.opened ?? 0), 0), 0);
  const dropped = last.reduce((a, m) => a + newsDropped(m.outbox), 0);
  const arrived = events.filter((kinds) => kinds.new > 0).length;
  check(
    'every event that was opened arrived',
    opened > 0 && arrived + dropped >= opened,
    `${arrived} arrived, ${opened} opened in the figures, ${dropped} dropped`,
  );
  const endless = events.filter((kinds) => kinds.new > 0 && !kinds.end).length;
  const orphans = events.filter((kinds) => kinds.end > 0 && !kinds.new).length;
  const twice = events.filter((kinds) => kinds.new > 1 || kinds.end > 1).length;
  // Killed while its disk failed, a daemon takes the ends of what was open with it, and what it ended since then ends a second time.
  const lost = lives.filter(({ number, ended }) => {
    const outbox = stats.filter(({ life }) => life === number).at(-1)?.message.outbox;
    return ended?.signal === 'SIGKILL' && outbox?.store?.mode !== 'disk';
  });
  check(
    'one new and one end an event',
    orphans === 0 && twice + endless <= 64 * lost.length,
    `${orphans} ends without a new, ${twice} doubled, ${endless} without an end`,
  );

  const longest =
    lives.map(({ number }) => samples.filter((s) => s.life === number)).sort((a, b) => b.length - a.length)[0] ?? [];
  const warm = longest.filter(
    (s) => s.at - longest[0].at >= Math.min(WARM_UP_MS, 0.2 * (longest.at(-1).at - longest[0].at)),
  );
  const third = Math.max(1, Math.floor(warm.length / 3));
  const early = warm.slice(0, third);
  const late = warm.slice(-third);
  const rss = (list) => median(list.map((s) => s.rssKiB / MiB));
  const growth = warm.length > 0 ? rss(late) - rss(early) : Number.NaN;
  const slope = slopePerHour(warm, (s) => s.rssKiB / MiB);
  check(
    'memory flat',
    growth <= Math.max(24, 0.1 * rss(early)),
    `${round(rss(early))} MiB early, ${round(rss(late))} MiB late; ${round(slope)} MiB an hour`,
  );
  for (const key of ['handles', 'threads']) {
    const of = (list) => median(list.filter((s) => !s.faulting).map((s) => s[key]));
    check(
      `${key} flat`,
      of(late) <= of(early) + 2,
      `${of(early)} early, ${of(late)} late, ${Math.max(...longest.map((s) => s[key]))} at most`,
    );
  }

  const quiet = ({ at }) => !faults.some((f) => at >= f.at - 500 && at <= f.at + f.ms + 10_000);
  const calm = latencies.filter(quiet);
  const part = Math.max(1, Math.floor(calm.length / 3));
  const first = calm.slice(0, part).map(({ ms }) => ms);
  const final = calm.slice(-part).map(({ ms }) => ms);
  check(
    'latency flat',
    calm.length > 0 && median(final) <= (run.latencyFactor ?? 1.5) * median(first) + 20,
    `capture to subscriber, new events away from faults: median ${median(first)} ms early, ${median(final)} ms late, p99 ${quantile(
      calm.map(({ ms }) => ms),
      0.99,
    )} ms`,
  );
  check('the log is JSON', run.unreadable === 0, `${run.unreadable} lines that are none`);
  const end = lives.at(-1);
  check('it stops in good order', end?.ended?.code === 0, JSON.stringify(end?.ended ?? null));

  const frames = {};
  for (const message of last) {
    for (const { camera, frames: f } of message.cameras) {
      frames[camera] ??= { captured: 0, processed: 0, dropped: {} };
      const all = frames[camera];
      all.captured += f?.captured ?? 0;
      all.processed += f?.processed ?? 0;
      for (const [reason, n] of Object.entries(f?.dropped ?? {})) all.dropped[reason] = (all.dropped[reason] ?? 0) + n;
    }
  }
  const byKind = {};
  for (const { kind } of faults) byKind[kind] = (byKind[kind] ?? 0) + 1;
  return {
    ok: checks.every((c) => c.ok),
    ...run.options,
    minutes: round(run.minutes),
    checks,
    faults: byKind,
    lives: lives.length,
    frames,
    events: { arrived, opened, dropped, copies: run.duplicates },
    lastStats: last.at(-1) ?? null,
    logCodes: run.codes,
  };
}

export function markdown(result) {
  const lines = [
    '# Soak',
    '',
    `${result.minutes} minutes, seed ${result.seed}, ${result.fps} fps at ${result.size}, ${result.cpus} cores. ${result.ok ? 'All checks hold.' : 'A check FAILED.'}`,
    '',
    '| check | holds | figure |',
    '|---|---|---|',
    ...result.checks.map(({ name, ok, figure }) => `| ${name} | ${ok ? 'yes' : 'NO'} | ${figure} |`),
    '',
    '| fault | times |',
    '|---|---|',
    ...Object.entries(result.faults).map(([kind, n]) => `| ${kind} | ${n} |`),
    '',
    '| camera | captured | processed | dropped |',
    '|---|---|---|---|',
    ...Object.entries(result.frames).map(
      ([camera, f]) =>
        `| ${camera} | ${f.captured} | ${f.processed} | ${
          Object.entries(f.dropped)
            .map(([reason, n]) => `${n} ${reason}`)
            .join(', ') || '0'
        } |`,
    ),
    '',
    `Codes in the log: ${
      Object.entries(result.logCodes)
        .map(([code, n]) => `${code} ${n}`)
        .join(', ') || 'none'
    }.`,
  ];
  return `${lines.join('\n')}\n`;
}

/** Memory, handles and threads, latency over time; faults are grey. */
export function plots({ samples, faults, latencies, durationMs }) {
  const WIDTH = 900;
  const HEIGHT = 170;
  const LEFT = 70;
  const panel = (title, unit, series, row) => {
    const values = series.flatMap(({ points }) => points.map(([, y]) => y));
    const top = Math.max(1, ...values) * 1.1;
    const x = (at) => LEFT + (at / durationMs) * (WIDTH - LEFT - 20);
    const y = (value) => row * (HEIGHT + 40) + 30 + HEIGHT * (1 - value / top);
    const shades = faults.map(
      (f) =>
        `<rect x="${x(f.at).toFixed(1)}" y="${y(top).toFixed(1)}" width="${Math.max(1, x(f.at + f.ms) - x(f.at)).toFixed(1)}" height="${HEIGHT}" fill="#ddd"><title>${f.kind}</title></rect>`,
    );
    const ticks = [0, 0.5, 1].map(
      (t) => `<text x="${LEFT - 6}" y="${y(top * t) + 4}" text-anchor="end">${Math.round(top * t)}</text>`,
    );
    const times = [0, 0.25, 0.5, 0.75, 1].map(
      (t) =>
        `<text x="${x(durationMs * t)}" y="${y(0) + 14}" text-anchor="middle">${((durationMs * t) / 60_000).toFixed(1)} min</text>`,
    );
    const drawn = series.map(({ points, colour, dots }) =>
      dots
        ? points
            .map(([at, v]) => `<circle cx="${x(at).toFixed(1)}" cy="${y(v).toFixed(1)}" r="1.5" fill="${colour}"/>`)
            .join('')
        : `<polyline fill="none" stroke="${colour}" points="${points.map(([at, v]) => `${x(at).toFixed(1)},${y(v).toFixed(1)}`).join(' ')}"/>`,
    );
    return [
      `<text x="${LEFT}" y="${row * (HEIGHT + 40) + 20}" font-weight="bold">${title}, ${unit}</text>`,
      ...shades,
      `<rect x="${LEFT}" y="${y(top)}" width="${WIDTH - LEFT - 20}" height="${HEIGHT}" fill="none" stroke="#888"/>`,
      ...ticks,
      ...times,
      ...drawn,
    ].join('\n');
  };
  const line = (key, scale = 1) => samples.map((s) => [s.at, s[key] / scale]);
  const rows = [
    panel('Resident memory', 'MiB', [{ points: line('rssKiB', 1024), colour: '#06c' }], 0),
    panel(
      'Handles (blue), threads (red)',
      'count',
      [
        { points: line('handles'), colour: '#06c' },
        { points: line('threads'), colour: '#c30' },
      ],
      1,
    ),
    panel(
      'Capture to subscriber, new events',
      'ms (at most 500)',
      [{ points: latencies.map(({ at, ms }) => [at, Math.min(500, ms)]), colour: '#06c', dots: true }],
      2,
    ),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${3 * (HEIGHT + 40) + 10}" font-family="sans-serif" font-size="11">\n<title>Memory, handles, threads and latency of a soak</title>\n<rect width="100%" height="100%" fill="#fff"/>\n${rows.join('\n')}\n</svg>\n`;
}

/** A power mode of a Jetson. */
export interface PowerMode {
  id: number;
  /** `MAXN`, `15W`, `MODE_30W`. */
  name: string;
}

/**
 * The modes that `/etc/nvpmodel.conf` defines, in its order: lines `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`. Ids and names
 * differ from board to board and from release to release.
 */
export function parseNvpmodelConf(text: string): { modes: PowerMode[]; defaultId?: number } {
  const modes: PowerMode[] = [];
  let defaultId: number | undefined;
  for (const line of text.split('\n')) {
    // A comment may quote a definition.
    const [, kind, rest] = /^\s*<\s*(POWER_MODEL|PM_CONFIG)\s+([^>]*)>/.exec(line) ?? [];
    if (kind === undefined || rest === undefined) continue;
    const attribute = (name: string) => new RegExp(`\\b${name}\\s*=\\s*(\\S+)`).exec(rest)?.[1];
    const id = Number(attribute(kind === 'PM_CONFIG' ? 'DEFAULT' : 'ID') ?? Number.NaN);
    if (!Number.isInteger(id)) continue;
    if (kind === 'PM_CONFIG') defaultId = id;
    else modes.push({ id, name: attribute('NAME') ?? String(id) });
  }
  return { modes, ...(defaultId !== undefined && { defaultId }) };
}

/** The mode in force, of `/var/lib/nvpmodel/status`: `pmode:0002`, with `fmode:quiet` behind it on some releases. */
export function parseNvpmodelStatus(text: string): number | undefined {
  const id = /\bpmode:\s*(\d+)/.exec(text)?.[1];
  return id === undefined ? undefined : Number(id);
}

/**
 * The mode in force, of `nvpmodel -q`: the line `NV Power Mode: 15W` and the id on a line of its own; other lines (the fan's
 * mode, `NVPM VERB: ...`) may stand around them.
 */
export function parseNvpmodelQuery(text: string): PowerMode | undefined {
  const lines = text.split('\n').map((line) => line.trim());
  const at = lines.findIndex((line) => line.includes('NV Power Mode:'));
  if (at < 0) return undefined;
  const name = lines[at]!.slice(lines[at]!.indexOf('NV Power Mode:') + 'NV Power Mode:'.length).trim();
  const id = lines.slice(at + 1).find((line) => /^\d+$/.test(line));
  return name === '' || id === undefined ? undefined : { id: Number(id), name };
}

/** The mode without caps, where there is one: `MAXN_SUPER` before `MAXN`. Xavier NX has none. */
export function fullestMode(modes: readonly PowerMode[]): PowerMode | undefined {
  const called = (name: RegExp) => modes.find((mode) => name.test(mode.name));
  return called(/^MAXN_SUPER$/i) ?? called(/^MAXN/i);
}

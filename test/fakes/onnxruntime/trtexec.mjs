#!/usr/bin/env node
// A trtexec that does as FAKE_TRTEXEC says: JSON {"ms": how long it takes, "exit": code, "signal": name, "lines": [to print],
// "engine": text of the engine (null: none)}. FAKE_TRTEXEC_LOG: file that its arguments are written to.
import { appendFileSync, writeFileSync } from 'node:fs';

const script = JSON.parse(process.env.FAKE_TRTEXEC ?? '{}');
if (process.env.FAKE_TRTEXEC_LOG) appendFileSync(process.env.FAKE_TRTEXEC_LOG, `${process.argv.slice(2).join(' ')}\n`);
const option = (name) => process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
for (const line of script.lines ?? ['[11/25/2026-10:00:00] [I] Building engine']) console.log(line);
await new Promise((resolve) => setTimeout(resolve, script.ms ?? 0));
if (script.signal) process.kill(process.pid, script.signal);
if (script.exit) process.exit(script.exit);
if (script.engine !== null) writeFileSync(option('saveEngine'), script.engine ?? 'an engine');
writeFileSync(option('timingCacheFile'), 'timings');

// Started by events.test.ts, to be killed: offers events (a `new` and an `end` each) and tells which are on disk.
// Arguments: folder of the compiled alerts modules, broker URL, state directory, start of the ids, number of events.
const [folder, url, directory, prefix, count] = process.argv.slice(2);
const { DurableOutbox } = await import(`${folder}/durable-outbox.js`);
const { MqttPublisher } = await import(`${folder}/publisher.js`);
const events = new DurableOutbox({ directory });
await events.start();
const publisher = new MqttPublisher({ url, device: 'edge-1', software: 'child', events, keepalive: 2 });
publisher.start();
const record = (id, seq, kind) => ({
  id,
  seq,
  kind,
  severity: seq % 3,
  topic: 'irst/edge-1/north/events',
  payload: Buffer.from(JSON.stringify({ id, kind, pad: 'x'.repeat(600) })),
  createdAtMs: Date.now(),
  expiresAtMs: Date.now() + 3_600_000,
});
console.log('started');
for (let i = 0; i < Number(count); i += 1) {
  const id = `${prefix}-${i}`;
  publisher.publishEvent(record(id, i, 'new'));
  publisher.publishEvent(record(id, i, 'end'));
  if (i % 50 === 49) {
    if (!(await events.flush(20_000))) throw new Error('not on disk');
    console.log(`durable ${i}`);
  }
}
console.log('complete');
// To be killed.
setInterval(() => {}, 60_000);

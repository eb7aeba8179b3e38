// Started by mqtt.test.ts, to be killed: publishes until then. Arguments: compiled publisher module, broker URL.
const [module, url] = process.argv.slice(2);
const { MqttPublisher } = await import(module);
const publisher = new MqttPublisher({ url, device: 'edge-1', software: 'child' });
publisher.start();
await publisher.waitConnected(20_000);

// Evaluates code in the first worker thread of the process whose inspector listens on 127.0.0.1:9229. Needs Node with WebSocket (22).
import { setTimeout as delay } from 'node:timers/promises';

const [expression] = process.argv.slice(2);
let targets;
for (let i = 0; targets === undefined; i++) {
  try {
    targets = await (await fetch('http://127.0.0.1:9229/json/list')).json();
  } catch (error) {
    if (i > 200) throw error;
    await delay(200);
  }
}
const socket = new WebSocket(targets[0].webSocketDebuggerUrl);
await new Promise((resolve, reject) => {
  socket.onopen = resolve;
  socket.onerror = reject;
});
let id = 0;
let attached = false;
const send = (method, params = {}) => socket.send(JSON.stringify({ id: ++id, method, params }));
socket.onmessage = async ({ data }) => {
  const { method, params } = JSON.parse(data);
  // Once: another worker may take the place of the one that dies of it.
  if (method !== 'NodeWorker.attachedToWorker' || attached) return;
  attached = true;
  const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } });
  send('NodeWorker.sendMessageToWorker', { sessionId: params.sessionId, message });
  // What it evaluates may never answer.
  await delay(3000);
  process.exit(0);
};
send('NodeWorker.enable', { waitForDebuggerOnStart: false });
await delay(60_000);
console.error('there is no worker');
process.exit(1);

// The official client behind proxies, all at the same time.
//
//   node behind.mjs '{"urls": {"name": "http://...", ...}, "transports": [...], "settle": 1500, "twice": ["name"]}'
//
// Each says numbers and is told numbers from the moment that it connects until it has settled; those of "twice" stay until
// they have connected anew. Prints one line of JSON: for each name the transport that it ended with, what came, and how
// often it was connected.

import { io } from "socket.io-client";

const { urls, transports, settle, twice = [], options = {} } = JSON.parse(process.argv[2]);
const TOTAL = 40;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function stay(name, url) {
  const socket = io(url, { transports, reconnectionDelay: 100, timeout: 3000, ...options });
  const heard = [];
  const found = { connections: 0, reasons: [], errors: [], transport: null };
  socket.on("connect", () => found.connections++);
  socket.on("connect_error", (error) => found.errors.push(error.message));
  socket.on("disconnect", (reason) => found.reasons.push(reason));
  socket.on("echo back", (number) => heard.push(number));
  for (let number = 0; number < TOTAL; number++) {
    socket.emit("echo back", number);
    socket.emit("count", number);
    await sleep(settle / TOTAL);
  }
  const deadline = Date.now() + 10_000;
  while (twice.includes(name) && found.connections < 2 && Date.now() < deadline) await sleep(20);
  if (socket.connected) {
    try {
      found.counted = await socket.timeout(5000).emitWithAck("counted");
      found.heard = heard;
    } catch {
      found.errors.push("no answer");
    }
    found.transport = socket.io.engine.transport.name;
  }
  socket.off().disconnect();
  return found;
}

const found = await Promise.all(Object.entries(urls).map(async ([name, url]) => [name, await stay(name, url)]));
console.log(JSON.stringify(Object.fromEntries(found)));
process.exit(0);

// Official clients that say numbers and hear those of all, by polling alone: what cluster/support/soak.py looks at.
//
//   node soak.mjs http://127.0.0.1:8000 3 500
//
// Arguments: where, how many clients, and how many milliseconds between two numbers. With the first line that comes they
// say no more, and print how many each has said as soon as all is confirmed; with the second they print what each has
// seen, and end.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, count, pause] = process.argv.slice(2);
const now = () => Date.now() / 1000;
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
let silent = false;

function participant(name) {
  const story = { name, heard: [], turns: [], servers: [], ends: [], refused: [], confirmed: 0, doubtful: [] };
  const socket = io(url, {
    transports: ["polling"], reconnectionDelay: 100, reconnectionDelayMax: 500, forceNew: true, ackTimeout: 10_000,
  });
  socket.on("connect", () => story.turns.push([now(), socket.recovered === true]));
  socket.on("disconnect", (reason) => story.ends.push([now(), reason]));
  socket.on("connect_error", (error) => story.refused.push([now(), error.message]));
  socket.on("here", (server) => story.servers.push([now(), server]));
  socket.on("n", (who, number, at) => story.heard.push([now(), who, number, at]));
  const speak = async () => {
    while (!silent) {
      if (socket.connected) {
        try {
          await socket.timeout(10_000).emitWithAck("say", name, story.confirmed);
        } catch {
          story.doubtful.push(story.confirmed);
          continue;
        }
        story.confirmed += 1;
      }
      await wait(Number(pause));
    }
  };
  return { story, socket, spoken: speak() };
}

const all = Array.from({ length: Number(count) }, (_, index) => participant(`Node.js ${index}`));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
await lines.next();
silent = true;
await Promise.all(all.map(({ spoken }) => spoken));
console.log(JSON.stringify(Object.fromEntries(all.map(({ story }) => [story.name, story.confirmed]))));
await lines.next();
const stories = JSON.stringify(all.map(({ story }) => story));
for (const { socket } of all) socket.disconnect();
process.stdout.write(`${stories}\n`, () => process.exit(0));

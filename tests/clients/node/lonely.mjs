// One client in a process of its own, to be stopped or killed by a scenario. Prints its id when connected, and when what
// a server notices of its end is certain: a client that polls has sent a request, which isn't answered yet.
// Arguments: package, url, transports (JSON), and the package of a parser, if it isn't the client's own.

import { subscribe } from "node:diagnostics_channel";

let polls = 0; // requests that wait for their responses
subscribe("http.client.request.start", ({ request }) => {
  if (request.method === "GET") request.once("finish", () => { polls += 1; });
});
subscribe("http.client.response.finish", ({ request }) => {
  if (request.method === "GET") polls -= 1;
});

const [library, url, transports, parser] = process.argv.slice(2);
const { io } = await import(library);
const other = parser ? { parser: (await import(parser)).default } : {};
const socket = io(url, { transports: JSON.parse(transports), reconnection: false, ...other });
socket.on("connect_error", (error) => {
  console.error(error);
  process.exit(1);
});
socket.on("connect", () => {
  const { engine } = socket.io;
  const tell = () => socket.emit("who am i", async (who) => {
    while (who.transport === "polling" && polls !== 1) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(JSON.stringify(who));
  });
  if (engine.transport.name === JSON.parse(transports).at(-1)) tell();
  else engine.once("upgrade", tell);
});

// A server for the tests of our own client: the official one, told by arguments what to be.
//
//   node server.mjs '{"port": 0, "recovery": true, "parser": "msgpack", "options": {...}}'
//
// It prints one line of JSON with its port, and ends with its standard input.

import { createServer } from "node:http";
import { Server } from "socket.io";
import msgpack from "socket.io-msgpack-parser";

const told = JSON.parse(process.argv[2] ?? "{}");
const http = createServer();
const io = new Server(http, {
  ...(told.recovery ? { connectionStateRecovery: { maxDisconnectionDuration: 60_000, skipMiddlewares: true } } : {}),
  ...(told.parser === "msgpack" ? { parser: msgpack } : {}),
  ...told.options,
});
const counted = [];

io.use((socket, next) => {
  if (socket.handshake.auth.refuse) {
    next(Object.assign(new Error("refused"), { data: { why: socket.handshake.auth.refuse } }));
  } else {
    next();
  }
});

function listen(socket) {
  socket.on("echo", (...args) => args.pop()(...args));
  socket.on("echo back", (...args) => socket.emit("echo back", ...args));
  socket.on("auth", (answer) => answer(socket.handshake.auth));
  socket.on("transport", (answer) => answer(socket.conn.transport.name));
  socket.on("join", (room, answer) => (socket.join(room), answer([...socket.rooms])));
  socket.on("rooms", (answer) => answer([...socket.rooms]));
  socket.on("ask me", (event, value, answer) =>
    socket.timeout(5000).emit(event, value, (error, ...args) => answer(error ? "timeout" : args)));
  socket.on("volatile", (...args) => socket.volatile.emit("volatile", ...args));
  socket.on("count", (number, answer) => (counted.push(number), answer?.(number)));
  socket.on("counted", (answer) => answer(counted));
  socket.on("leave", () => socket.disconnect());
  socket.on("close", () => socket.disconnect(true));
  socket.on("kill", () => socket.conn.close());
  socket.on("tick", (room, from, to, answer) => {
    for (let number = from; number < to; number++) io.to(room).emit("number", number);
    answer?.();
  });
}

io.on("connection", listen);
io.of("/private").use((socket, next) => next(socket.handshake.auth.token === "secret" ? undefined : new Error("not authorised")));
io.of("/private").on("connection", listen);

http.listen(told.port ?? 0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
/** Say so when no client is left. */
function alone() {
  if (io.engine.clientsCount) setTimeout(alone, 10);
  else console.log("{}");
}

process.stdin.on("data", (line) => {
  const said = JSON.parse(line);
  if (said.tick) for (let number = said.tick[0]; number < said.tick[1]; number++) io.emit("number", number);
  if (said.alone) alone();
});
process.stdin.on("end", () => process.exit(0));

// Peer: Socket.IO for Node.js with `ws`, its default WebSocket engine.
//
// Settings, and why:
// - perMessageDeflate, httpCompression: off, as for every server here (the first is Socket.IO's default too);
// - serveClient: off, a server that serves events alone;
// - transports: the default (polling and websocket), upgrades allowed;
// - bufferutil is installed beside it: Socket.IO's guide "Performance tuning" recommends it, and ws finds it
//   by itself (utf-8-validate is not needed since Node.js 18.14: ws uses buffer.isUtf8);
// - NODE_ENV=production is set by the harness; garbage collector and heap: Node.js's defaults.
"use strict";

const { createServer } = require("node:http");
const path = require("node:path");
const { createRequire } = require("node:module");

const requirePinned = createRequire(path.join(__dirname, "..", "node", "package.json"));
const { Server } = requirePinned("socket.io");

const httpServer = createServer();
const io = new Server(httpServer, {
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});

io.on("connection", (socket) => {
  socket.on("echo", (value, acknowledge) => acknowledge(value));

  socket.on("join", (room, acknowledge) => {
    socket.join(room);
    acknowledge();
  });

  socket.on("leave", (room, acknowledge) => {
    socket.leave(room);
    acknowledge();
  });

  socket.on("broadcast", (room, payload, count) => {
    for (let index = 0; index < count; index++) {
      io.to(room).emit("broadcast", index, payload);
    }
  });
});

httpServer.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 2048 });

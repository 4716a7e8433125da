// The application of the benchmarks on a Socket.IO server for Node.js: the same for each of its WebSocket engines. See
// "Settings of the servers" in the README.
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");

/**
 * What every server here has in common, whatever carries its bytes. Some works change two defaults, for every server alike.
 */
exports.settings = {
  pingInterval: Number(process.env.BENCH_PING_INTERVAL_MS ?? 25000),
  allowEIO3: "BENCH_EIO3" in process.env,
  perMessageDeflate: false, // Socket.IO's default too
  httpCompression: false,
  serveClient: false, // a server that serves events alone
};

/** The packages that benchmarks/node/package-lock.json pins. */
exports.requirePinned = createRequire(path.join(__dirname, "..", "node", "package.json"));

const { z } = exports.requirePinned("zod");
const Said = z.object({ room: z.string(), number: z.int(), tags: z.array(z.string()), text: z.string() });

exports.attach = (io) => {
  io.on("connection", (socket) => {
    socket.on("echo", (value, acknowledge) => acknowledge(value));

    socket.on("binary", (value, acknowledge) => acknowledge(value));

    socket.on("untyped", (said, acknowledge) => acknowledge(said.text));

    socket.on("typed", (said, acknowledge) => acknowledge(Said.parse(said).text));

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
};

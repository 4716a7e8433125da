// Peer: one node of Socket.IO for Node.js in a cluster, with the official adapter of an engine; see node_ws.js for the
// server's settings.
//
//     node node_cluster.js PORT ADAPTER URL_OR_NUMBER_OF_WORKERS
//
// The adapters have their defaults, and the drivers that their documentation names first. With "workers" it is the cluster
// module of Node.js and @socket.io/cluster-adapter. Its clients use WebSocket alone, so nothing needs to be sticky.
"use strict";

const cluster = require("node:cluster");
const { createServer } = require("node:http");
const path = require("node:path");
const { createRequire } = require("node:module");

const requirePinned = createRequire(path.join(__dirname, "..", "node", "package.json"));
const PAYLOAD = 64;
const [port, kind, where] = process.argv.slice(2);

async function redis() {
  const client = requirePinned("redis").createClient({ url: where });
  await client.connect();
  return client;
}

const adapters = {
  async sharded() {
    const client = await redis();
    const other = client.duplicate();
    await other.connect();
    return requirePinned("@socket.io/redis-adapter").createShardedAdapter(client, other);
  },
  async classic() {
    const client = await redis();
    const other = client.duplicate();
    await other.connect();
    return requirePinned("@socket.io/redis-adapter").createAdapter(client, other);
  },
  async streams() {
    return requirePinned("@socket.io/redis-streams-adapter").createAdapter(await redis());
  },
  async postgres() {
    const pool = new (requirePinned("pg").Pool)({ connectionString: where });
    return requirePinned("@socket.io/postgres-adapter").createAdapter(pool);
  },
  async workers() {
    return requirePinned("@socket.io/cluster-adapter").createAdapter();
  },
};

async function serve() {
  const httpServer = createServer();
  const io = new (requirePinned("socket.io").Server)(httpServer, {
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    adapter: await adapters[kind](),
  });
  const emitted = new Map(); // events of each room, since the last silence
  let timer;

  function publish(rooms, burst, milliseconds) {
    let turn = 0;
    let due = performance.now();
    (function again() {
      for (let count = 0; count < burst; count++) {
        const room = rooms[turn++ % rooms.length];
        const number = emitted.get(room) ?? 0;
        io.to(room).emit("tick", number, `${process.hrtime.bigint()}-`.padEnd(PAYLOAD, "x"));
        emitted.set(room, number + 1);
      }
      due += milliseconds;
      timer = setTimeout(again, due - performance.now());
    })();
  }

  io.on("connection", (socket) => {
    socket.on("echo", (value, acknowledge) => acknowledge(value));
    socket.on("join", async (room, acknowledge) => {
      await socket.join(room);
      acknowledge();
    });
    socket.on("publish", (rooms, burst, milliseconds, acknowledge) => {
      publish(Array.from({ length: rooms }, (_, number) => `bench-${number}`), burst, milliseconds);
      acknowledge();
    });
    socket.on("silence", (acknowledge) => {
      clearTimeout(timer);
      acknowledge([...emitted.values()].reduce((sum, number) => sum + number, 0));
      emitted.clear();
    });
    socket.on("fetch", async (acknowledge) => {
      const began = process.hrtime.bigint();
      const found = await io.fetchSockets();
      acknowledge({ found: found.length, us: Number(process.hrtime.bigint() - began) / 1000 });
    });
  });

  httpServer.listen({ port: Number(port), host: "127.0.0.1", backlog: 2048 });
}

if (kind === "workers" && cluster.isPrimary) {
  requirePinned("@socket.io/cluster-adapter").setupPrimary();
  for (let count = 0; count < Number(where); count++) cluster.fork();
} else {
  serve();
}

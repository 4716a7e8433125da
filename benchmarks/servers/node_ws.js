// Peer: Socket.IO for Node.js with `ws`, its default WebSocket engine. Port as the argument.
//
// Settings, and why (those of all servers on Node.js: node_app.js):
// - transports: the default (polling and websocket), upgrades allowed;
// - bufferutil is installed beside it: Socket.IO's guide "Performance tuning" recommends it, and ws finds it
//   by itself (utf-8-validate is not needed since Node.js 18.14: ws uses buffer.isUtf8);
// - keepAliveTimeout: longer than a run. After the default of 5 s Node.js ends the connections on which polling clients
//   post, and have had nothing to post for so long; the load generator does not dial again;
// - NODE_ENV=production is set by the harness; garbage collector and heap: Node.js's defaults.
"use strict";

const { createServer } = require("node:http");
const { attach, requirePinned, settings } = require("./node_app.js");

const httpServer = createServer({ keepAliveTimeout: 600_000 });
attach(new (requirePinned("socket.io").Server)(httpServer, settings));
httpServer.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 2048 });

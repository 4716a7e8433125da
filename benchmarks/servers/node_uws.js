// Peer: Socket.IO for Node.js on uWebSockets.js, its engine in C++. Port and the package's folder as arguments.
//
// Settings, and why (those of all servers on Node.js: node_app.js):
// - io.attachApp(app), as Socket.IO's documentation says; its adapter then publishes by uWebSockets.js's own topics;
// - the transports and their limits: the defaults, which are those of node_ws.js;
// - the binary comes from npm (@uwsjs, see nodejs.py): uWebSockets.js itself is not published there.
"use strict";

const { attach, requirePinned, settings } = require("./node_app.js");
const { App } = require(process.argv[3]);

const app = App();
const io = new (requirePinned("socket.io").Server)(settings);
attach(io);
io.attachApp(app);
app.listen("127.0.0.1", Number(process.argv[2]), (listening) => {
  if (!listening) {
    console.error("it can't listen");
    process.exit(1);
  }
});
